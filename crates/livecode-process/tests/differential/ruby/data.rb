p DATA.read, __LINE__
__END__
the rest
