import threading
main = threading.main_thread()
print(repr(main).split('started')[0], main.name, main.daemon, main.is_alive(), threading.active_count(), threading.current_thread() is main)
print(main.native_id == __import__('os').getpid(), threading.get_native_id(), threading.stack_size(), threading.TIMEOUT_MAX)
print(main.ident == threading.get_ident(), threading.excepthook, threading.gettrace())
