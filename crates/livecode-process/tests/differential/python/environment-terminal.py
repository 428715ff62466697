#= env: COLUMNS=40
#= env: LINES=10
#= env: TERM=xterm
import shutil
print(shutil.get_terminal_size())
import argparse
argparse.ArgumentParser(description='x ' * 60).print_help()
