import sys
sys.setprofile(lambda frame, event, _: None)
print('over')
