import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from scripts.host.ports import free_port
from seedcore.settings import PROJECT_ROOT

SCRIPT = PROJECT_ROOT / "images/healthcheck.sh"
DEADLINE_S = 30
REASON = '{"ready":false,"actors":{"mw":{"reason":"Grüße 🎭: did not answer"}}}'

Answer = Callable[[BaseHTTPRequestHandler], None]


def with_status(status: int, body: str = "") -> Answer:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        handler.send_header("Content-Length", str(len(body.encode())))
        handler.end_headers()
        handler.wfile.write(body.encode())

    return answer


def without_a_word(handler: BaseHTTPRequestHandler) -> None:
    handler.close_connection = True


@contextmanager
def serving(answer: Answer) -> Iterator[tuple[int, list[str]]]:
    """A server that gives this answer; its port, and the paths that it was asked for."""
    paths: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            paths.append(self.path)
            answer(self)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's name
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, args=[0.01])
        thread.start()
        try:
            yield server.server_port, paths
        finally:
            server.shutdown()
            thread.join()


def healthcheck(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([SCRIPT, *arguments], capture_output=True, text=True, timeout=DEADLINE_S, check=False)


def test_200_is_healthy_and_says_nothing() -> None:
    with serving(with_status(200, "{}")) as (port, paths):
        done = healthcheck("127.0.0.1", str(port), "/api/healthz")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert paths == ["/api/healthz"]


@pytest.mark.parametrize("status", [503, 500, 404, 421, 301])
def test_another_status_is_unhealthy_and_its_reason_is_printed(status: int) -> None:
    with serving(with_status(status, REASON)) as (port, _):
        done = healthcheck("127.0.0.1", str(port), "/readyz")
    assert done.returncode == 1
    first, reason = done.stdout.splitlines()
    assert str(status) in first
    assert reason == REASON
    assert done.stderr == ""


def test_another_status_without_a_reason_is_unhealthy_and_the_status_is_printed() -> None:
    with serving(with_status(503)) as (port, _):
        done = healthcheck("127.0.0.1", str(port), "/readyz")
    assert done.returncode == 1
    assert "503" in done.stdout


def test_where_nobody_listens_the_address_is_printed() -> None:
    port = free_port()
    done = healthcheck("127.0.0.1", str(port), "/readyz")
    assert (done.returncode, done.stdout, done.stderr) == (1, f"nobody listens on 127.0.0.1:{port}\n", "")


def test_a_server_that_hangs_up_is_unhealthy_and_named() -> None:
    with serving(without_a_word) as (port, _):
        done = healthcheck("127.0.0.1", str(port), "/readyz")
    assert done.returncode == 1
    assert f"no answer from 127.0.0.1:{port}/readyz" in done.stdout


@pytest.mark.parametrize("arguments", [[], ["127.0.0.1"], ["127.0.0.1", "8000"]])
def test_a_missing_argument_is_never_healthy(arguments: list[str]) -> None:
    assert healthcheck(*arguments).returncode != 0
