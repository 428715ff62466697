import importlib.metadata
print(sorted(distribution.metadata['Name'] for distribution in importlib.metadata.distributions()))
