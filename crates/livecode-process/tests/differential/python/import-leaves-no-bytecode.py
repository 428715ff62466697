import answers, os
print(sorted(os.listdir('.')))
#== answers.py
