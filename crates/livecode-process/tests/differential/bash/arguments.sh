#= arg: one
#= arg: two words
printf '<%s>' "$0" "$@" "$#" "$-" "$BASH_SOURCE" "$BASH"; tr '\0' ' ' < /proc/$$/cmdline
