process.on('SIGINT', signal => { console.log(signal); process.exit(0); });
process.kill(process.pid, 'SIGINT'); setTimeout(() => {}, 10_000);
