#= stdin: one\ntwo\n
head -c 4; while read -r line; do echo "[$line]"; done
