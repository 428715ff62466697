//= limit: memory_bytes=80000000
console.log(require('v8').getHeapStatistics().heap_size_limit, require('os').availableParallelism());
