#= arg: --help
#= arg: -c
#= arg: print(1)
#= arg: --
import argparse, sys
print(sys.argv, sys.flags)
parser = argparse.ArgumentParser()
parser.add_argument('--name')
parser.parse_args()
