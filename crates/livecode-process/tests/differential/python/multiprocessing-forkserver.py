import multiprocessing, os
def work(connection):
    connection.send((__name__, multiprocessing.get_start_method(allow_none=True)))
if __name__ == '__main__':
    context = multiprocessing.get_context('forkserver')
    ours, theirs = context.Pipe()
    process = context.Process(target=work, args=(theirs,))
    process.start()
    print(ours.recv())
    process.join()
    print(process.exitcode)
