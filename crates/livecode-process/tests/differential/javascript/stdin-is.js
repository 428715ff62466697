//= stdin: abc
const fs = require('fs');
console.log(process.stdin.constructor.name, process.stdin.isTTY, process.stdin.fd, process.stdin.readableFlowing, fs.fstatSync(0).isFIFO(), fs.fstatSync(1).isFIFO());
console.log(process.stdout.constructor.name, process.stdout.isTTY, process.stdout.fd, process.stdout.writableHighWaterMark, process.stdout._type, process.stdout.columns);
