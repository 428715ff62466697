import answers
print(answers.ANSWER, answers.__file__, answers.__spec__.origin, answers.__cached__, answers.__name__)
#== answers.py
ANSWER = 42
