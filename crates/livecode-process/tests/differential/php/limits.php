<?php
ini_set('memory_limit', '8M');
$kept = []; while (true) { $kept[] = str_repeat('x', 1 << 20); }
