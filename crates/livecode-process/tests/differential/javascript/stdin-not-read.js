//= stdin-repeat: 30000 0123456789
console.log('never mind');
