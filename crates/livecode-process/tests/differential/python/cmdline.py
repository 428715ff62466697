print(open('/proc/self/cmdline', 'rb').read())
print(open('/proc/self/comm').read(), open('/proc/self/task/' + __import__('os').listdir('/proc/self/task')[0] + '/comm').read())
