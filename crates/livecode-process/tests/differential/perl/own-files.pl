use lib '.'; require './other.pl'; use Shapes; print Shapes::area(2), "\n";
#== other.pl
print __FILE__, "\n"; 1;
#== Shapes.pm
package Shapes; sub area { $_[0] ** 2 } 1;
