#= text: \u{feff}print('after a byte order mark', __file__)\n
