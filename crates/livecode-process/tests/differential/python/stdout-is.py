import os, stat, sys
for stream in (sys.stdout, sys.stderr):
    print(stream, stream.encoding, stream.errors, stream.line_buffering, stream.write_through, stream.isatty(), stream.fileno(), stream.mode, stream.name, stream.newlines, stream.seekable())
    print(stream.buffer, stream.buffer.mode, getattr(stream.buffer, '_blksize', None), stream._CHUNK_SIZE)
    status = os.fstat(stream.fileno())
    print(stat.S_ISFIFO(status.st_mode), oct(status.st_mode), status.st_uid, status.st_gid, status.st_blksize, status.st_nlink)
print(sys.stdout is sys.__stdout__, sys.stderr is sys.__stderr__)
