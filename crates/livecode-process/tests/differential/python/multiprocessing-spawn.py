import multiprocessing
def work(connection):
    connection.send((__name__, __file__))
if __name__ == '__main__':
    context = multiprocessing.get_context('spawn')
    ours, theirs = context.Pipe()
    process = context.Process(target=work, args=(theirs,))
    process.start()
    print(ours.recv())
    process.join()
    print(process.exitcode)
