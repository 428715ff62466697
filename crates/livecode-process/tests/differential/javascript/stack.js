console.log(new Error('here').stack, Error.stackTraceLimit);
