sub inner { die "inside" } sub outer { inner() }
outer();
