function inner() { null.x; }
function outer() { inner(); }
outer();
