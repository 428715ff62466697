#= stdin: one\ntwo\nlast
print "<$_>" while <STDIN>; print eof(STDIN), "\n";
