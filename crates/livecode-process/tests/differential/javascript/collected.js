//= collect: out.txt
require('fs').writeFileSync('out.txt', 'written');
