#= stdin: one\ntwo\nlast
p gets, $stdin.read, gets
