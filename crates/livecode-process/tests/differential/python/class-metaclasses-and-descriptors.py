class Meta(type):
    def __new__(mcls, name, bases, namespace, **keywords):
        print(name, keywords, list(namespace))
        return super().__new__(mcls, name, bases, namespace)
class A(metaclass=Meta, option=1):
    x = 1
print(A.__module__, A.__qualname__, A.__mro__)
