import py_compile, os
print(py_compile.compile('answers.py', cfile='answers.pyc'))
os.remove('answers.py')
import answers
print(answers.ANSWER, answers.__file__, answers.__cached__)
#== answers.py
ANSWER = 42
