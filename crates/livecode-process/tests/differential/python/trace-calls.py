import sys
def tracer(frame, event, argument):
    seen.append((event, frame.f_code.co_name, frame.f_lineno))
    return tracer
seen = []
def f(x):
    y = x + 1
    return y
sys.settrace(tracer)
f(1)
sys.settrace(None)
print(seen)
