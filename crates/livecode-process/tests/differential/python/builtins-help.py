help(len)
help('keywords')
