#= any-temperature
#= env: BASH_ENV=/work/hook.sh
echo main
#== hook.sh
echo hook
