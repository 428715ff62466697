import logging
logging.warning('by the root %s', 1)
logging.getLogger('own').error('by its own')
logging.basicConfig(level=logging.DEBUG, format='%(levelname)s %(filename)s:%(lineno)d %(funcName)s %(process)d %(threadName)s %(message)s', force=True)
logging.debug('now')
