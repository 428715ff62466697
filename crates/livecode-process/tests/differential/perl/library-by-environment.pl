#= any-temperature
#= env: PERL5LIB=/work/lib
#= env: PERL5OPT=-MMine
print "main @INC\n";
#== lib/Mine.pm
package Mine; print "mine\n"; 1;
