print(len(object.__subclasses__()), [it.__name__ for it in object.__subclasses__()][-5:])
