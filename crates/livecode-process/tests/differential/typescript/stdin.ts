//= stdin: 20 22\n
import * as fs from 'fs';
const [a, b] = fs.readFileSync(0, 'utf8').split(' ').map(Number);
console.log(a + b);
