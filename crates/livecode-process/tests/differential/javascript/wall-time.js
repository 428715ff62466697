//= limit: wall_time_ms=250
console.log('begin'); setInterval(() => {}, 1000);
