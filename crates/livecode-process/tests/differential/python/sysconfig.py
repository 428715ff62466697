import sysconfig
print(sysconfig.get_paths(), sysconfig.get_platform(), len(sysconfig.get_config_vars()))
