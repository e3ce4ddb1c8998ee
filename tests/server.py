"""Real servers on real sockets: the API as its container runs it, and any application on the event loop of a test."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Final, NamedTuple

import httpx
import psutil
import uvicorn
from starlette.types import ASGIApp

from scripts.host.ports import free_port
from scripts.host.settings import process_environment
from seedcore.ray_environment import STARTUP, ray_environment
from seedcore.settings import PROJECT_ROOT, Settings
from tests.checkout import WITHOUT_APP
from tests.waiting import wait_until

STOP_DEADLINE_S: Final = 30


class Served(NamedTuple):
    """The API in a process of its own."""

    port: int
    process: psutil.Process

    @property
    def peak_bytes(self) -> int:
        """The most memory that it ever had."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024


@contextmanager
def api_process(**knobs: str) -> Iterator[Served]:
    """The real API as its container runs it, without a Ray head and without waiting for one."""
    settings = Settings()
    port = free_port()
    environment = {
        **os.environ,
        **process_environment(settings),
        **ray_environment(settings),
        "RUNTIME": "local",
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": f"{WITHOUT_APP}:{PROJECT_ROOT}:{STARTUP}",
        "PYTHONSAFEPATH": "1",
        "RAY_ADDRESS": f"127.0.0.1:{free_port()}",
        "RAY_AUTH_MODE": "disabled",
        "API_PORT": str(port),
        "RAY_TMPDIR": "/tmp",
        "API_RELOAD": "0",
        "LOOKUP_RETRIES": "1",
        **knobs,
    }
    with subprocess.Popen(
        ["images/entrypoint.sh", "api"],
        cwd=PROJECT_ROOT,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as entrypoint:
        try:
            wait_until(lambda: httpx.get(f"http://127.0.0.1:{port}/healthz").status_code == 200)
            (server,) = psutil.Process(entrypoint.pid).children()
            yield Served(port, server)
        finally:
            os.killpg(entrypoint.pid, signal.SIGTERM)
            entrypoint.wait(STOP_DEADLINE_S)


@asynccontextmanager
async def serving(app: ASGIApp) -> AsyncIterator[int]:
    """The application on a port of its own, on this event loop."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(app, http="h11", lifespan="off", log_config=None))
        served = asyncio.create_task(server.serve([listener]))
        try:
            yield listener.getsockname()[1]
        finally:
            server.should_exit = True
            await served


class Connection:
    """One connection of a client that says byte by byte what it wants.

    Args:
        reader: from the server.
        writer: to the server.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def to(cls, port: int) -> "Connection":
        """A new connection."""
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    async def send(self, data: bytes) -> bool:
        """Send; whether the server took it all. If not, it has closed the connection, perhaps after an answer."""
        try:
            for start in range(0, len(data), 2**16):
                self._writer.write(data[start : start + 2**16])
                await self._writer.drain()
        except ConnectionError:
            return False
        return True

    async def put(self, length: int, body: bytes = b"", path: str = "/organs/agent/items/plan") -> None:
        """Send a PUT of this length, and some of its body."""
        head = [
            f"PUT {path} HTTP/1.1",
            "Host: localhost",
            "Content-Type: application/json",
            f"Content-Length: {length}",
        ]
        await self.send("\r\n".join([*head, "", ""]).encode() + body)

    async def answer(self, *, has_body: bool = True) -> httpx.Response:
        """The next answer; one to HEAD has no body."""
        head = await self._reader.readuntil(b"\r\n\r\n")
        status, *lines = head.decode().split("\r\n")[:-2]
        headers = httpx.Headers(dict(line.split(": ", 1) for line in lines))
        body = await self._reader.readexactly(int(headers["content-length"])) if has_body else b""
        return httpx.Response(int(status.split()[1]), headers=headers, content=body)

    def close(self) -> None:
        """Go away without a word, as a killed client does."""
        self._writer.transport.abort()
