import warnings
print(warnings.filters, warnings.defaultaction, warnings.onceregistry)
warnings.warn('mine')
warnings.warn('old', DeprecationWarning)
warnings.warn('unheard', ResourceWarning)
