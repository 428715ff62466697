#= stdin: p x\nn\nw\nl\nc\n
x = 1
breakpoint()
x = 2
print(x)
