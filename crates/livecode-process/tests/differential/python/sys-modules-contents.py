import sys
for name, module in sorted(sys.modules.items()):
    print(name, len(vars(module)), sorted(vars(module))[-4:])
