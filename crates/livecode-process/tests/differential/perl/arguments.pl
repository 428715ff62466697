#= arg: one
#= arg: two words
print "$0|@ARGV|", __FILE__, "|$^X|$^W|$^T\n" =~ s/\d{9,}/T/r;
