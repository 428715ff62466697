const keys = ['version', 'versions', 'arch', 'platform', 'release', 'features', 'exitCode', 'debugPort', 'pid', 'ppid', 'config.variables.napi_build_version'];
console.log(keys.map(key => process[key]), Object.keys(process).sort().join(' '));
console.log(process.cwd(), process.umask(), process.getuid(), process.getgid(), process.getgroups(), process.listeners('exit').length, process.eventNames());
