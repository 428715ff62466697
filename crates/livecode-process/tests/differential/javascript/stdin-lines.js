//= stdin: 4 9\n2 7 11 15\n
const lines = [];
require('readline').createInterface({ input: process.stdin }).on('line', line => lines.push(line)).on('close', () => console.log(lines));
