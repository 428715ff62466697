//= env: FORCE_COLOR=1
console.log(process.stdout.hasColors && 1, { a: 1 }, [null, undefined, 'x']);
console.error(new Map([[1, 2]]));
