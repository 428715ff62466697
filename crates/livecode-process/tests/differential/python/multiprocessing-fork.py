import multiprocessing
def work(queue, number):
    queue.put((number, multiprocessing.current_process().name))
if __name__ == '__main__':
    context = multiprocessing.get_context('fork')
    queue = context.SimpleQueue()
    for number in range(3):
        process = context.Process(target=work, args=(queue, number))
        process.start()
        process.join()
        print(queue.get(), process.exitcode, process.pid > 1)
