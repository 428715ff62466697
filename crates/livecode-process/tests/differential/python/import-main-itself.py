if __name__ == '__main__':
    import main
    print('twice', main.__name__, main.__file__, main.VALUE is not None)
VALUE = object()
print(__name__)
