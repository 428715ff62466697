<?php
ob_start(); echo "buffered\n"; fwrite(STDERR, "err\n"); fwrite(STDOUT, "first\n"); echo ob_get_level(), ini_get('output_buffering'), "\n";
