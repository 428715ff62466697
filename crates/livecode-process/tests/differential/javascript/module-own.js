const { area } = require('./shapes/circle');
console.log(area(2), require('./data.json'), require('./shapes'), Object.keys(require.cache));
//== shapes/circle.js
exports.area = radius => Math.PI * radius ** 2;
//== shapes/index.js
module.exports = 'index';
//== data.json
{"a": [1, 2]}
