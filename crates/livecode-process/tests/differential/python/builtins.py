import builtins
print(sorted(dir(builtins)))
print(__builtins__ is builtins, [type(getattr(builtins, name)).__name__ for name in ('exit', 'quit', 'copyright', 'credits', 'license', 'help')])
print(repr(exit), repr(quit), repr(help))
