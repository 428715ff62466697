const registry = new FinalizationRegistry(held => console.log('finalized', held));
(() => registry.register({}, 'x'))();
console.log('ends');
