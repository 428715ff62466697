#= env: ANSWER=42
#= env: EMPTY=
#= env: UMLAUT=ä
#= env: LINES=a\nb
import os
print(list(os.environ.items()))
print(open('/proc/self/environ', 'rb').read().split(b'\0'))
print(os.popen('echo "$ANSWER $UMLAUT"').read())
