//= env: NODE_OPTIONS=--enable-source-maps
throw new Error('mapped?');
