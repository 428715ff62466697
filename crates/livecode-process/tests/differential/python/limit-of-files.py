#= limit: files=20
for number in range(100):
    try:
        open(f'{number}', 'w').close()
    except OSError as error:
        print(number, error)
        raise
