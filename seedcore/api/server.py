"""What uvicorn loads: the application, imported without the garbage collector."""

import gc
import importlib

from seedcore.code_version import process_code

process_code.begin()  # this process may be a fork of one that began long ago; see reloader.py
# The imports make a hundred thousand objects that all stay. To look through them again and again costs a start a fifth.
gc.disable()
app = importlib.import_module("seedcore.api.app").create_app()
gc.freeze()  # nor need they be looked through later
gc.enable()
