#= text: # coding: utf-7\nprint('+AOQ-')\n
