at_exit { puts 'at exit' }
ObjectSpace.define_finalizer(Object.new, proc { puts 'finalized' })
exit 4
