#= text: \u{feff}# coding: latin-1\nprint('never')\n
