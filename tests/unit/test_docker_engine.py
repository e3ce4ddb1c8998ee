"""Engines that are too old, by what they answer."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from scripts.host.docker_engine import connect_to_engine
from scripts.host.runtime import StackError

needs_docker = pytest.mark.skipif(
    shutil.which("docker") is None
    or subprocess.run(["docker", "compose", "version"], capture_output=True).returncode != 0,
    reason="there is no `docker compose`",
)


@contextmanager
def engine(version: str) -> Iterator[str]:
    """Answers as an engine of this version would; its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps({"Version": version, "ApiVersion": "1.41", "MinAPIVersion": "1.24"}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's name
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, args=[0.01])
        thread.start()
        try:
            yield f"tcp://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@needs_docker
@pytest.mark.parametrize("version", ["20.10.24+dfsg1", "24.0.9"])
def test_an_engine_without_start_interval_is_refused_with_what_to_do(
    monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    with engine(version) as address:
        monkeypatch.setenv("DOCKER_HOST", address)
        with pytest.raises(StackError) as refused:
            connect_to_engine()
    said = str(refused.value)
    assert said.startswith(f"Docker Engine {version} is too old, 25.0 or newer is needed. ")
    assert "Install Docker Engine 25 or newer with Compose 2.24 or newer (https://docs.docker.com" in said


@needs_docker
@pytest.mark.parametrize("version", ["25.0.0", "26.1.5+dfsg1", "29.0.1"])
def test_a_newer_engine_is_taken(monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    with engine(version) as address:
        monkeypatch.setenv("DOCKER_HOST", address)
        connect_to_engine()


def test_without_the_command_the_user_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(StackError, match=r"no `docker` command\. Install Docker Engine 25 or newer"):
        connect_to_engine()
