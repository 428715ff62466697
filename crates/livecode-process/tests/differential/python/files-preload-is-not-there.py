import os
print(os.path.exists('/etc/ld.so.preload'), [name for name in os.listdir('/etc') if 'preload' in name])
