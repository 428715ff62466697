p Thread.list.size, Process.pid, Process.ppid, fork { exit! 3 } > 0, Process.wait2[1].exitstatus, `echo child`
