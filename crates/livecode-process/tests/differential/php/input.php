#= stdin: one\ntwo\nlast
<?php
var_dump(fgets(STDIN), stream_get_contents(STDIN), feof(STDIN), file_get_contents('php://stdin'));
