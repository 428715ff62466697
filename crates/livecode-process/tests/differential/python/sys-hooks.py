import sys
print(sys.displayhook, sys.excepthook, sys.unraisablehook, sys.breakpointhook is sys.__breakpointhook__, sys.gettrace(), sys.getprofile())
print(sys.get_asyncgen_hooks(), sys.get_coroutine_origin_tracking_depth(), sys.is_finalizing(), hasattr(sys, 'ps1'), hasattr(sys, 'last_value'))
