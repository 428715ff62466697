Promise.reject(new Error('rejected'));
console.log('first');
