import resource
status = {line.split(':')[0]: line.split()[1] for line in open('/proc/self/status') if line.startswith('Vm')}
print({name: int(value) > 0 for name, value in status.items() if name not in ('VmLck', 'VmPin', 'VmSwap')})
