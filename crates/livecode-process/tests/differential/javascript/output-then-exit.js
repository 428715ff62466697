process.stdout.write('y'.repeat(20_000)); console.error('to stderr'); process.exit(3);
