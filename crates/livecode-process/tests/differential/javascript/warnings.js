process.emitWarning('mine', 'OwnWarning', 'OWN001'); new Buffer(1);
