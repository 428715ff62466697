#= collect: out.txt
import contextlib, io, sys
text = io.StringIO()
with contextlib.redirect_stdout(text):
    print('captured')
print(repr(text.getvalue()))
sys.stdout = open('out.txt', 'w')
print('into a file')
sys.__stdout__.write('still there\n')
