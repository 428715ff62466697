p Signal.trap('TERM', 'DEFAULT'), Signal.trap('INT', 'DEFAULT')
Process.kill('TERM', Process.pid)
sleep 5
