const greeting: string = 'hi';
console.log(greeting, process.argv, process.execArgv);
