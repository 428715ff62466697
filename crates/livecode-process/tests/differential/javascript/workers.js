const { Worker, isMainThread, parentPort, threadId } = require('worker_threads');
if (isMainThread) new Worker(__filename).on('message', message => console.log(message)).on('exit', code => console.log('exit', code));
else parentPort.postMessage(['from a worker', threadId, process.argv]);
