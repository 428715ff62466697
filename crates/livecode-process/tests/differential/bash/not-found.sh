not-there-at-all
echo $?
exit 300
