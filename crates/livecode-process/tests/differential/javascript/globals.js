console.log(Object.getOwnPropertyNames(globalThis).sort().join(' '), this === module.exports, arguments.length);
