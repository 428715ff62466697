opendir my $d, '/proc/self/fd'; print join(' ', sort readdir $d), "\n"; print fileno(DATA) // 'none', "\n";
