#= stdin: one\ntwo\nthree\n
import subprocess, sys
print(sys.stdin.buffer.raw.read(4))
subprocess.run(['cat'])
