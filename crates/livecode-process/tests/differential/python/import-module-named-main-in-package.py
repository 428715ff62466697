from package import main
print(main.__name__)
#== package/__init__.py
#== package/main.py
