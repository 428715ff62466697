#= arg: \u{10348}\u{301}
import os, sys
print([os.fsencode(it) for it in sys.argv])
