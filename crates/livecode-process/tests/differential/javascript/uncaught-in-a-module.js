require('./broken');
//== broken.js
// a comment
throw new TypeError('in a module', { cause: new Error('the cause') });
