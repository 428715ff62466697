set -e
f() { false; }
trap 'echo "at exit $? $LINENO"' EXIT
f
