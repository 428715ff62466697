//= repeat: 8000 var value = 'abcdefgh';\n
console.log('begin', require('fs').readFileSync(__filename).length);
