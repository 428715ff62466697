echo 'echo appended' >> main.sh
echo first
