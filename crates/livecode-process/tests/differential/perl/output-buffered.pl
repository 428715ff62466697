print "buffered"; print STDERR "not"; $| = 1; print "\n"; printf "%vd\n", $^V;
