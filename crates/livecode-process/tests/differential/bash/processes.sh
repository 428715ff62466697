echo $$ $PPID $BASHPID $SHLVL; (echo $BASHPID); sleep 0 & wait $!; echo $?; kill -TERM $$
