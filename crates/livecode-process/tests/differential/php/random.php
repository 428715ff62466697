#= differs
<?php
echo mt_rand(), bin2hex(random_bytes(8)), spl_object_id(new stdClass) > 0, uniqid(), "\n";
