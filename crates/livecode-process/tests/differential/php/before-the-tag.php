before
<?php echo 'inside', "\n" ?>
after <?= 1 + 1 ?>
