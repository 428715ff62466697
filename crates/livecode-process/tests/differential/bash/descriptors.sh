ls /proc/$$/fd; exec 9< main.sh; ls /proc/$$/fd
