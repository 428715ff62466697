<?php
echo "hi\n";
