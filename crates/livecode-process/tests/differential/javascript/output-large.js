process.stdout.write('x'.repeat(300_000) + '\n', () => console.log('written'));
