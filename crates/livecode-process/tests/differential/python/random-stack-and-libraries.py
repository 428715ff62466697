#= differs
import re
lines = open('/proc/self/maps').read()
print([re.search(rf'(\w+)-\w+ .*{name}', lines).group(1) for name in (r'\[stack\]', r'libc')])
