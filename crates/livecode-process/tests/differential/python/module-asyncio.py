import asyncio
async def work(n):
    await asyncio.sleep(0.001 * n)
    return n * n
async def main():
    print(await asyncio.gather(*(work(n) for n in range(5))), type(asyncio.get_running_loop()).__name__)
    process = await asyncio.create_subprocess_exec('echo', 'child', stdout=asyncio.subprocess.PIPE)
    print(await process.communicate(), process.returncode)
asyncio.run(main())
