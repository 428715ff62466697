import subprocess, sys
print(subprocess.check_output([sys.executable, '-c', 'import gc; print(gc.get_count(), gc.get_freeze_count(), len(gc.get_objects()))']))
