const fs = require('fs');
console.log(fs.readdirSync('/proc/self/fd').sort((a, b) => a - b).map(fd => { try { return fd + ' ' + fs.readlinkSync('/proc/self/fd/' + fd).split('[')[0]; } catch { return fd; } }), fs.openSync('main.js'));
