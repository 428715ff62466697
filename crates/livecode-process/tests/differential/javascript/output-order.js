const fs = require('fs');
console.log(1); fs.writeSync(1, '2\n'); process.stdout.write('3\n'); process.nextTick(() => console.log(5)); console.log(4);
setImmediate(() => console.log(7)); Promise.resolve().then(() => console.log(6));
