console.log(require('./a').done);
//== a.js
exports.done = false; require('./b'); exports.done = true;
//== b.js
console.log('in b', require('./a'));
