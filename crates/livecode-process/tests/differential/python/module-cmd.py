#= stdin: greet you\nunknown\nEOF\n
import cmd
class Shell(cmd.Cmd):
    prompt = '$ '
    def do_greet(self, name): print('hello', name)
    def do_EOF(self, _): return True
Shell().cmdloop()
