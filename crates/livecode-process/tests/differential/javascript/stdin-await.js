//= stdin: one\ntwo\n
(async () => { for await (const line of require('readline').createInterface(process.stdin)) console.log(line); })();
