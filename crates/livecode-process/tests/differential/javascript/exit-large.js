process.exit(256 + 8);
