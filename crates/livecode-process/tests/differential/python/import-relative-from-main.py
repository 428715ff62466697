from . import answers
#== answers.py
