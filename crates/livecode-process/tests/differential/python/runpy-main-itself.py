import runpy
if __name__ == '__main__':
    runpy.run_path('main.py', run_name='again')
else:
    print(__name__, __file__)
