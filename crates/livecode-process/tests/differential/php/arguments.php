#= arg: one
#= arg: two words
<?php
var_dump($argv, $argc, __FILE__, __DIR__, $_SERVER['argv'], PHP_SAPI, $_SERVER['SCRIPT_NAME'], get_included_files());
