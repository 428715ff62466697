END { print "end $?\n" } sub DESTROY { print "destroyed\n" } our $kept = bless {}; exit 3;
