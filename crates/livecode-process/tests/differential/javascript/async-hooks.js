const hooks = require('async_hooks');
console.log(hooks.executionAsyncId(), hooks.triggerAsyncId());
const seen = [];
hooks.createHook({ init(id, type) { seen.push([id, type]); } }).enable();
setTimeout(() => {}, 1);
process.on('exit', () => console.log(seen));
