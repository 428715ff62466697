#= differs
import tempfile
print(tempfile.mktemp())
