"""uvicorn, loading changed code in processes that have the libraries already: `python -m seedcore.api.reloader`.

Takes uvicorn's options. A process that runs nothing else has imported the libraries, and each new one is forked from
it: so saved code is live in half a second, instead of two.
"""

import multiprocessing
import sys
from typing import Any

import uvicorn._subprocess
from uvicorn.main import main

LIBRARIES = "seedcore.api.libraries"

if __name__ == "__main__":
    processes: Any = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload([LIBRARIES])
    uvicorn._subprocess.spawn = processes  # where uvicorn takes its processes from; there is no option for it
    main(["--reload", *sys.argv[1:]])
