const { spawnSync } = require('child_process');
console.log(spawnSync('sh', ['-c', 'echo out; echo err >&2; exit 3']).output.map(String), spawnSync(process.execPath, ['-e', 'console.log(process.argv, process.execArgv)']).stdout.toString());
