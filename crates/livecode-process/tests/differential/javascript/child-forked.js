if (process.argv[2]) { process.send({ argv: process.argv.slice(1), connected: process.connected }); process.disconnect(); }
else require('child_process').fork(__filename, ['child']).on('message', message => console.log(message)).on('exit', code => console.log(code));
