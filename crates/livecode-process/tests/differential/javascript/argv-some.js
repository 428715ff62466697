//= arg: one
//= arg: --two
//= arg:
console.log(process.argv, require('fs').readFileSync('/proc/self/cmdline', 'utf8').split('\0'));
