#= differs
p rand, Random.new_seed, 'x'.hash
