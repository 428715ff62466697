const fs = require('fs');
console.log(fs.readdirSync('.'), fs.readdirSync('/tmp'), fs.readdirSync('/etc'), fs.statSync('main.js').mode, fs.statSync('main.js').size);
