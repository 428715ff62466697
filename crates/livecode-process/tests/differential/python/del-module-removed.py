import os, sys
class Noisy:
    def __del__(self, write=os.write):
        write(1, b'gone\n')
import answers
answers.noisy = Noisy()
del sys.modules['answers'], answers
print('end')
#== answers.py
