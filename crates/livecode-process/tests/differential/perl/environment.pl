#= env: ANSWER=42
print "$_=$ENV{$_}\n" for sort keys %ENV; print "$_\n" for @INC, sort keys %INC;
