console.log(require('mine'), require('mine/package.json').version);
//== node_modules/mine/package.json
{"name": "mine", "version": "1.2.3", "main": "lib.js"}
//== node_modules/mine/lib.js
module.exports = 'from node_modules';
