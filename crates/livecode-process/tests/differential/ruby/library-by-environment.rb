#= env: RUBYOPT=-r./hook.rb
puts 'main'
#== hook.rb
puts 'hook'
