names = ['m%d' % n for n in range(8)]
print([__import__(name).__file__ for name in names])
#== m0.py
#== m1.py
#== m2.py
#== m3.py
#== m4.py
#== m5.py
#== m6.py
#== m7.py
