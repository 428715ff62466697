#= any-temperature
#= env: LOCPATH=/work/locales
#= env: LANG=de_DE.UTF-8
import locale
try:
    print(locale.setlocale(locale.LC_ALL, ''))
except locale.Error as error:
    print(error)
