import shapes.circle
shapes.circle.area(None)
#== shapes/__init__.py
#== shapes/circle.py
def area(radius):
    return 3.14 * radius ** 2
