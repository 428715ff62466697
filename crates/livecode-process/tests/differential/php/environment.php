#= env: ANSWER=42
<?php
print_r(getenv()); print_r(array_keys($_SERVER)); echo php_ini_loaded_file(), ini_get('memory_limit'), ini_get('include_path'), "\n";
