#= stdin: line\n
import readline
print(readline.get_history_length(), readline.get_current_history_length(), readline.get_completer(), input('> '))
