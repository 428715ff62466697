const { performance } = require('perf_hooks');
console.log(performance.now() > 0, performance.getEntries().map(entry => entry.name), performance.timeOrigin > 0, process.hrtime.bigint() > 0n, process.uptime() > 0);
