import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from scripts.host.ports import free_port
from seedcore.settings import PROJECT_ROOT

SCRIPT = PROJECT_ROOT / "images/healthcheck.sh"
DEADLINE_S = 30
REST_S = 2
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
def serving(answer: Answer, port: int = 0) -> Iterator[tuple[int, list[str]]]:
    """A server that gives this answer; its port, and the paths that it was asked for."""
    paths: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            paths.append(self.path)
            answer(self)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's name
            pass

    with ThreadingHTTPServer(("127.0.0.1", port), Handler) as server:
        thread = Thread(target=server.serve_forever, args=[0.01])
        thread.start()
        try:
            yield server.server_port, paths
        finally:
            server.shutdown()
            thread.join()


def healthcheck(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [SCRIPT, *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )


def check_of_a_container(port: int, tmp: Path) -> tuple[int, float]:
    """Its exit code, and the seconds that it took."""
    began = time.monotonic()
    done = healthcheck("127.0.0.1", str(port), "/readyz", str(REST_S), TMPDIR=str(tmp))
    return done.returncode, time.monotonic() - began


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


def test_a_container_rests_where_the_last_answer_was_good(tmp_path: Path) -> None:
    with serving(with_status(200)) as (port, paths):
        assert check_of_a_container(port, tmp_path)[1] < REST_S
        code, seconds = check_of_a_container(port, tmp_path)
    assert code == 0
    assert seconds >= REST_S
    assert len(paths) == 2


def test_a_container_that_starts_is_waited_for_and_asked_again_at_once_when_that_is_in_vain(tmp_path: Path) -> None:
    port = free_port()
    assert check_of_a_container(port, tmp_path)[0] == 1
    assert not list(tmp_path.iterdir())
    results: list[tuple[int, float]] = []
    check = Thread(target=lambda: results.append(check_of_a_container(port, tmp_path)))
    check.start()
    time.sleep(0.5)
    assert not results
    with serving(with_status(200), port):
        check.join()
    assert results[0][0] == 0
