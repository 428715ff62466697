//= any-temperature
//= env: NODE_PATH=/work/lib
console.log(require('mine'), module.paths);
//== lib/mine.js
module.exports = 'mine from NODE_PATH';
