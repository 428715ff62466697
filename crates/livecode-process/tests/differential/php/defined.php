<?php
echo count(get_defined_functions()['internal']), ' ', count(get_declared_classes()), ' ', implode(',', get_loaded_extensions()), "\n"; print_r(array_keys($GLOBALS));
