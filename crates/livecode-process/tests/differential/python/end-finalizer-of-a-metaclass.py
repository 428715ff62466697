class Meta(type):
    def __del__(self):
        print('no more', self.__name__)

class Made(metaclass=Meta):
    pass

print('over')
