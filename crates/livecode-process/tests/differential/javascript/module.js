console.log(module, __filename, __dirname, require.main === module);
