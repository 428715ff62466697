//= limit: memory_bytes=90000000
const kept = [];
for (;;) kept.push(new Array(10_000).fill(kept.length));
