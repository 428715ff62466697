#!/usr/bin/env node --no-such-option
console.log(process.execArgv, new Error().stack.split('\n')[1]);
