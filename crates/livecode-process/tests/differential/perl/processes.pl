print "$$ ", getppid(), " ", `echo child`; my $p = fork // die; exit 3 unless $p; waitpid $p, 0; print $? >> 8, "\n"; kill 'TERM', $$;
