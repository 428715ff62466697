use warnings; my $x; print "x" . $x; print 1 + "a", "\n";
