print "never\n";
if (
