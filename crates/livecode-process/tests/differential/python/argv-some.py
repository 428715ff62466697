#= arg: one
#= arg: two words
#= arg: 
#= arg: -u
#= arg: ümläut
import sys
print(sys.argv, sys.orig_argv)
print(open('/proc/self/cmdline', 'rb').read())
