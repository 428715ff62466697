#= differs
print rand, join(',', keys %{{map { $_ => 1 } 1 .. 20}}), "\n";
