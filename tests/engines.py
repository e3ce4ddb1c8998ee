"""A server for the memory: Valkey's, or Redis's where there is no other."""

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest
import redis

from scripts.host.ports import LOOPBACK, free_port
from tests.waiting import wait_until

PROGRAM: Final = shutil.which("valkey-server") or shutil.which("redis-server")
DURABLE: Final = ("--appendonly", "yes", "--appendfsync", "no", "--save", "")

MISSING: Final = "neither valkey-server nor redis-server is installed"

needs_engine = pytest.mark.skipif(PROGRAM is None and os.environ.get("SEEDCORE_REQUIRE_ENGINE") != "1", reason=MISSING)


class Server:
    """One server. Nothing runs before `start`.

    Args:
        folder: for its files.
        options: of its program, in addition.
    """

    def __init__(self, folder: Path, *options: str, port: int | None = None) -> None:
        self.port = port or free_port()
        self._folder = folder
        self._options: Sequence[str] = options
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)

    @property
    def url(self) -> str:
        """`MEMORY_URL`."""
        return f"valkey://{LOOPBACK}:{self.port}"

    def client(self, **options: Any) -> redis.Redis:
        """A client of no property of ours."""
        return redis.Redis(LOOPBACK, self.port, socket_timeout=5, **options)

    def start(self, *, is_loaded: bool = True) -> None:
        """Start it, and wait until it answers."""
        assert PROGRAM is not None, MISSING
        command = [PROGRAM, "--port", str(self.port), "--bind", LOOPBACK, "--dir", str(self._folder), *DURABLE]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen([*command, *self._options], stdout=log, stderr=log)
        if is_loaded:
            wait_until(self.answers)

    def start_sentinel(self, *lines: str) -> None:
        """Start it as a sentinel, and wait until it answers.

        Args:
            lines: of its configuration.
        """
        assert PROGRAM is not None, MISSING
        config = self._folder / "sentinel.conf"
        config.write_text("\n".join((f"port {self.port}", f"bind {LOOPBACK}", f"dir {self._folder}", *lines)))
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen([PROGRAM, str(config), "--sentinel"], stdout=log, stderr=log)
        wait_until(self.answers)

    def answers(self) -> bool:
        """Whether it answers, and not that it loads its file."""
        try:
            return bool(self.client().ping())
        except redis.AuthenticationError:
            return True
        except redis.RedisError:
            return False

    def kill(self) -> None:
        """SIGKILL, as the kernel does to who has used up the memory."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Let it do nothing."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        """End it, if it runs."""
        if self._process is not None and self._process.poll() is None:
            self.kill()


@contextmanager
def running_server(folder: Path, *options: str) -> Iterator[Server]:
    """A server that ends with the block."""
    server = Server(folder, *options)
    server.start()
    try:
        yield server
    finally:
        server.stop()
