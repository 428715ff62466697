require_relative 'shapes'
load 'other.rb'
p Shapes.area(2)
#== shapes.rb
module Shapes; def self.area(r) = r * r; end
#== other.rb
puts __FILE__
