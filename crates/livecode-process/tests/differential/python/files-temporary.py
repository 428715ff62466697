import os, tempfile
print(tempfile.gettempdir(), tempfile.gettempprefix(), len(os.path.basename(tempfile.mktemp())))
with tempfile.NamedTemporaryFile() as file, tempfile.TemporaryDirectory() as directory:
    print(os.path.dirname(file.name), os.path.dirname(directory), len(os.listdir('/tmp')))
