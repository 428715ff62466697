#= arg: one
#= arg: two words
p ARGV, $0, __FILE__, __dir__, $PROGRAM_NAME, File.read('/proc/self/cmdline')
