shopt; set -o; ulimit -a; umask; trap; jobs
