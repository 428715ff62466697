<?php
require 'shapes.php'; require_once __DIR__ . '/lib/other.php'; echo area(2), "\n"; print_r(get_included_files());
//== shapes.php
<?php function area($r) { return $r * $r; }
//== lib/other.php
<?php echo __FILE__, "\n";
