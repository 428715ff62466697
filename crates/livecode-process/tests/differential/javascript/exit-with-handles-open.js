setInterval(() => {}, 1000).unref();
require('net').createServer().unref();
console.log('ends');
