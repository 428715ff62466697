#= text: #!/usr/bin/python3\n# coding: utf-8\nprint('größe')\n
