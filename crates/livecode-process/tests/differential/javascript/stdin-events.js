//= stdin: one\ntwo\nlast
process.stdin.setEncoding('utf8').on('data', data => console.log(JSON.stringify(data))).on('end', () => console.log('end'));
