#= text: # nothing but this
