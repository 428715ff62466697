raise GeneratorExit('raised by hand')
