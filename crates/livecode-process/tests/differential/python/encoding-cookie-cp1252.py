#= text: # vim: set fileencoding=cp1252 :\nprint(ascii('€'), '\\u20ac')\n
