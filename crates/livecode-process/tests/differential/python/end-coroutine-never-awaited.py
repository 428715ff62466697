async def work():
    print('work')

kept = work()
print('over')
