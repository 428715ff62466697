print(__loader__.get_source('__main__'))
print(__loader__.is_package('__main__'), __loader__.get_filename('__main__'), __loader__.get_data('main.py')[:20])
