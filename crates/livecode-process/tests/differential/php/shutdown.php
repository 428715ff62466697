<?php
register_shutdown_function(function () { echo "shutdown\n"; });
class Noisy { function __destruct() { echo "destroyed\n"; } }
$kept = new Noisy;
exit(3);
