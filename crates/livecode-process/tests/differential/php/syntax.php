<?php
echo 'never'
if (
