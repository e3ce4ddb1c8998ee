"""uvicorn, loading changed code without a gap: `python -m seedcore.api.reloader`, with uvicorn's options.

A process that runs nothing else has imported the libraries, and each new one is forked from it: so saved code is live
in half a second, instead of two. The old process ends when the new one serves, and goes on serving if it does not.
"""

import importlib
import logging
import multiprocessing
import sys
import time
from functools import partial
from multiprocessing.synchronize import Event
from socket import socket
from typing import Any, Final

import uvicorn
import uvicorn._subprocess
from uvicorn.supervisors.watchfilesreload import WatchFilesReload

from seedcore.code_version import CODE, PROJECT_ROOT

logger = logging.getLogger("uvicorn.error")

# What takes long to import, and starts nothing by that.
LIBRARIES: Final = ["fastapi", "grpc.aio", "prometheus_client", "pydantic_settings", "ray.util.state"]
POLL_S: Final = 0.02
START_DEADLINE_S: Final = 60.0  # after which code that does not start counts as broken

processes: Any = multiprocessing.get_context("forkserver")


class _Server(uvicorn.Server):
    """Tells when it serves."""

    def __init__(self, config: uvicorn.Config, is_serving: Event) -> None:
        super().__init__(config)
        self._is_serving = is_serving

    async def startup(self, sockets: list[socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._is_serving.set()


def _serve(config: uvicorn.Config, is_serving: Event, sockets: list[socket]) -> None:
    _Server(config, is_serving).run(sockets=sockets)


class GaplessReload(WatchFilesReload):
    """uvicorn's reloader, which otherwise ends the old process before it knows whether the new one starts."""

    process: Any  # the one that serves

    def restart(self) -> None:
        """Start the new process; once it serves, end the old one."""
        is_serving = processes.Event()
        successor = uvicorn._subprocess.get_subprocess(
            config=self.config, target=partial(_serve, self.config, is_serving), sockets=self.sockets
        )
        successor.start()
        deadline = time.monotonic() + START_DEADLINE_S
        while successor.is_alive() and not is_serving.wait(POLL_S):
            if self.should_exit.is_set() or time.monotonic() > deadline:
                break
        if is_serving.is_set():
            self.process.terminate()
            self.process.join()
            self.process = successor
            return
        successor.terminate()
        successor.join()
        if self.process.is_alive():
            logger.error("The changed code does not start; see above. The code from before goes on serving.")


if __name__ == "__main__":
    processes.set_forkserver_preload(LIBRARIES)
    # uvicorn has no option for either.
    uvicorn._subprocess.spawn = processes
    command_line: Any = importlib.import_module("uvicorn.main")  # `uvicorn.main` is the command in it
    command_line.ChangeReload = GaplessReload
    folders = [f"--reload-dir={PROJECT_ROOT / folder}" for folder in CODE if (PROJECT_ROOT / folder).is_dir()]
    command_line.main(["--reload", *folders, *sys.argv[1:]])
