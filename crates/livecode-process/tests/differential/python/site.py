import site, sys
print(site.getsitepackages(), site.ENABLE_USER_SITE, site.PREFIXES, site.USER_SITE, site.USER_BASE, 'sitecustomize' in sys.modules)
