import typing
class A:
    x: 'B'
class B: pass
def f(a: 'A', b: typing.Optional['B'] = None) -> list['A']: ...
print(typing.get_type_hints(A), typing.get_type_hints(f))
