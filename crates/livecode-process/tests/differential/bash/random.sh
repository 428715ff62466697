#= differs
echo $RANDOM $RANDOM $SRANDOM
