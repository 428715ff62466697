#= stdin: secret\n
import getpass
print(getpass.getpass())
print(getpass.getuser())
