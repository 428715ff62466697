import contextvars
variable = contextvars.ContextVar('variable', default=1)
print(variable.get(), len(contextvars.copy_context()), contextvars.copy_context().run(lambda: variable.set(2) and variable.get()))
