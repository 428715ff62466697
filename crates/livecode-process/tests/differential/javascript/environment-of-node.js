//= env: NODE_OPTIONS=--require ./hook.js
console.log('main', process.execArgv, process.env.NODE_OPTIONS);
//== hook.js
console.log('hook first');
