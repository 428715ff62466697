class Said:
    __slots__ = ()

    def __del__(self):
        print('said')

kept = [Said(), Said()]
print('over')
