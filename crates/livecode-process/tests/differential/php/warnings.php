<?php
echo $undefined, [][1], intdiv(1, 0);
