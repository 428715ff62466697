import sys
frame, depth = sys._getframe(), 0
while frame:
    print(frame.f_code.co_name, frame.f_code.co_filename, frame.f_lineno, frame.f_back)
    frame = frame.f_back
try:
    sys._getframe(1)
except ValueError as error:
    print(error)
