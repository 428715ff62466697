import animals.cat
from animals import dog
from animals.cat import speak
print(speak(), dog.speak(), animals.__path__, animals.__file__)
#== animals/__init__.py
print('animals is imported', __name__, __package__)
#== animals/cat.py
from . import dog
from .dog import speak as bark
def speak(): return 'meow, not ' + bark()
#== animals/dog.py
def speak(): return 'woof'
