//= limit: cpu_time_ms=250
console.log('begin'); for (;;);
