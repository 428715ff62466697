<?php
function inner() { throw new RuntimeException('inside'); }
inner();
