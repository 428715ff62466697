#= stdin: abcdefghij
import sys
print(sys.stdin.buffer.peek(1)[:3], sys.stdin.buffer.read(3), sys.stdin.buffer.read1(), sys.stdin.buffer.readinto(bytearray(4)))
