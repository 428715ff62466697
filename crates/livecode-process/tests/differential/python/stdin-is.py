#= stdin: abc
import io, os, select, stat, sys
print(sys.stdin, sys.stdin.buffer, sys.stdin.mode, sys.stdin.fileno(), sys.stdin.isatty(), sys.stdin.seekable(), sys.stdin.line_buffering, sys.stdin.newlines, sys.stdin.encoding)
mode = os.fstat(0).st_mode
print(stat.S_ISFIFO(mode), oct(mode), os.fstat(0).st_uid, os.fstat(0).st_blksize, sys.stdin.buffer.raw._blksize, sys.stdin._CHUNK_SIZE)
print(select.select([0], [], [], 1)[0])
print(sys.stdin is sys.__stdin__, sys.stdin.buffer.raw.closefd, sys.stdin.buffer.raw.name)
