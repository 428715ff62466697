. ./other.sh; echo "$VALUE ${BASH_SOURCE[0]} $LINENO"; ls
#== other.sh
VALUE="other ${BASH_SOURCE[0]} $LINENO"
