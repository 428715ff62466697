#= env: PYTHONBREAKPOINT=answers.hook
breakpoint(1, a=2)
#== answers.py
def hook(*arguments, **keywords): print('hook', arguments, keywords)
