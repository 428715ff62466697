#= stdin: one\ntwo\n
import asyncio, sys
async def main():
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    print(await reader.readline(), await reader.read())
asyncio.run(main())
