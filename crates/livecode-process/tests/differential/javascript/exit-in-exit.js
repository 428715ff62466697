process.on('exit', () => { process.exitCode = 4; console.log('set late'); });
