#= env: ANSWER=42
env | sort; declare -p | grep -v 'RANDOM\|EPOCH\|SRANDOM\|SECONDS\|BASH_ARG\|PPID' | sort
