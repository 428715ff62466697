import ast, dis, symtable
print(ast.dump(ast.parse('x = 1')), symtable.symtable('def f(a): pass', 'x', 'exec').get_children()[0].get_parameters())
dis.dis('x + 1')
