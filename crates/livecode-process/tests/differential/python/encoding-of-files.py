import locale
print(open('main.py').encoding, locale.getpreferredencoding(), locale.getencoding(), locale.getlocale(), locale.setlocale(locale.LC_ALL))
print(__import__('sys').getfilesystemencoding(), __import__('sys').getfilesystemencodeerrors(), __import__('sys').getdefaultencoding())
