#= any-temperature
#= env: PHPRC=/work
<?php
echo ini_get('precision'), "\n";
//== php.ini
precision = 5
