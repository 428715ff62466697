class Own(BaseException):
    pass
raise Own('not an Exception')
