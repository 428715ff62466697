class Greeter:
    def __init__(self, name): self.name = name
    def greet(self): return f'hello, {self.name}'
if __name__ == '__main__':
    print(Greeter('world').greet())
