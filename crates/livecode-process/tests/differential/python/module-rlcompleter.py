import rlcompleter
print(rlcompleter.Completer().complete('pri', 0))
