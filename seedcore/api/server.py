"""What uvicorn loads: the application, imported without the garbage collector."""

import gc
import importlib

# The imports make a hundred thousand objects that all stay. To look through them again and again costs a start a fifth.
gc.disable()
app = importlib.import_module("seedcore.api.app").app
gc.freeze()  # nor need they be looked through later
gc.enable()
