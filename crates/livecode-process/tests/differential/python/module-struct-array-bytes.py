import array, struct
print(struct.pack('<IhB', 1, -2, 3), array.array('d', [1.5]).tobytes(), int.from_bytes(b'\1\2', 'big'))
