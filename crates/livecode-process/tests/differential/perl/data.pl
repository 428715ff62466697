print <DATA>, tell(DATA), "\n";
__DATA__
the rest
