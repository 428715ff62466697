p $stdin.sync, $stdout.sync, $stdout.tty?, $stdout.fileno, $stdin.external_encoding, $stdout.external_encoding
STDERR.puts 'err'
print 'no end of line'
