const fs = require('fs');
console.log(fs.readdirSync('/proc/self/task').length, fs.readdirSync('/proc/self/task').map(id => fs.readFileSync(`/proc/self/task/${id}/comm`, 'utf8').trim()).sort());
