"""What reaches the API: retries of a browser, many connections, large bodies. What a clock or a token does."""

import asyncio
import json
import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from uuid import uuid4

import httpx
import pytest
from docker.models.containers import Container

from tests.faults.catalogue import ACTOR_S, API_S, WORKER_S
from tests.faults.harness import under_load
from tests.faults.report import Report
from tests.faults.stack import API, WORKER, FaultStack, health
from tests.stack.containers import run_in
from tests.waiting import wait_until

CONNECTIONS: Final = 1000
LARGE_REQUESTS: Final = 60
LARGE_BYTES: Final = 10 * 2**20 - 1000  # just below API_MAX_BODY_BYTES
BOUND_BYTES: Final = 2**30  # of the API's memory, which is limited to 2 GiB
TTL_S: Final = 3.0


def retried(api: httpx.Client, method: str, path: str, key: str) -> httpx.Response:
    """As a browser does it: the same request with the same Idempotency-Key until there is an answer."""

    def send() -> httpx.Response | None:
        answer = api.request(method, path, headers={"Idempotency-Key": key}, timeout=10)
        return answer if answer.status_code in (200, 404) else None

    return wait_until(send)


def test_retries_while_the_api_dies_change_nothing_twice(stack: FaultStack, report: Report, seed: int) -> None:
    deletes: list[int] = []
    with under_load(stack, "SIGKILL of the API container, three times, a client that retries", API_S, seed) as run:
        stop = threading.Event()

        def kill_it() -> None:
            for _ in range(3):
                run.mark("SIGKILL")
                stack.kill(stack.container(API))
                wait_until(lambda: health(stack.container(API)) == "healthy", 60)
            stop.set()

        with ThreadPoolExecutor(1) as pool:
            killing = pool.submit(kill_it)
            while not stop.is_set() and not killing.done():
                path = f"/organs/browser/items/item-{len(deletes)}"
                wait_until(lambda path=path: stack.project.api.put(path, json={"value": 1}).status_code == 200)  # type: ignore[misc]
                deletes.append(retried(stack.project.api, "DELETE", path, uuid4().hex).status_code)
            killing.result()
    assert set(deletes) == {200}
    report.add(run)
    run.finished.check()


async def _many_connections(url: str) -> int:
    limits = httpx.Limits(max_connections=CONNECTIONS, max_keepalive_connections=CONNECTIONS)
    as_json = {"Content-Type": "application/json"}
    async with httpx.AsyncClient(base_url=url, limits=limits, timeout=120, headers=as_json) as api:
        answers = await asyncio.gather(*(api.get("/healthz") for _ in range(CONNECTIONS)))
        assert {answer.status_code for answer in answers} == {200}
        body = json.dumps({"value": [[]] * (LARGE_BYTES // 4)}).encode()[:LARGE_BYTES]  # cut off, so refused in the end
        large = await asyncio.gather(
            *(api.put(f"/organs/large/items/{number}", content=body) for number in range(LARGE_REQUESTS))
        )
        assert {answer.status_code for answer in large} <= {422, 503}
        return len(answers)


def test_many_connections_and_large_bodies(stack: FaultStack, report: Report, seed: int) -> None:
    before = stack.container(API).attrs["State"]["StartedAt"]
    name = f"{CONNECTIONS} open connections, {LARGE_REQUESTS} bodies of 10 MiB at once"
    with under_load(stack, name, API_S, seed) as run:
        run.mark("connect")
        with ThreadPoolExecutor(1) as pool:
            done = threading.Event()
            peak = pool.submit(_peak_memory, stack.container(API), done)
            try:
                asyncio.run(_many_connections(str(stack.project.api.base_url)))
            finally:
                done.set()
        run.mark(f"at most {peak.result() / 2**20:.0f} MiB")
    assert stack.container(API).attrs["State"]["StartedAt"] == before
    assert peak.result() < BOUND_BYTES
    report.add(run)
    run.finished.check()


def _peak_memory(container: Container, done: threading.Event) -> int:
    """What Docker sees each second."""
    peak = 0
    for sample in container.stats(stream=True, decode=True):
        peak = max(peak, sample["memory_stats"].get("usage", 0))
        if done.is_set():
            break
    return peak


@contextmanager
def clock_set_back(seconds: float) -> Iterator[None]:
    """Set the wall clock back, which containers share with their machine, and set it right again."""
    right = time.time() - time.monotonic()
    time.clock_settime(time.CLOCK_REALTIME, time.time() - seconds)
    try:
        yield
    finally:
        time.clock_settime(time.CLOCK_REALTIME, time.monotonic() + right)


@pytest.mark.skipif(
    os.environ.get("SEEDCORE_MAY_SET_CLOCK") != "1",
    reason="sets the clock of this machine back for some seconds; SEEDCORE_MAY_SET_CLOCK=1 allows it",
)
def test_the_clock_set_back_by_an_hour(stack: FaultStack, report: Report, seed: int) -> None:
    with under_load(stack, "clock set back by 1 h", ACTOR_S, seed) as run:
        before = _worker_time(stack)
        run.mark("set back")
        with clock_set_back(3600):
            assert _worker_time(stack) < before - 3000
            _assert_ttl_works(stack)
        run.mark("right again")
        _assert_ttl_works(stack)
    report.add(run)
    run.finished.check()


def _worker_time(stack: FaultStack) -> float:
    return float(run_in(stack.container(WORKER), "python", "-c", "import time; print(time.time())"))


def _assert_ttl_works(stack: FaultStack) -> None:
    item = f"/shared-items/brief-{uuid4().hex}"
    began = time.monotonic()
    assert stack.project.api.put(item, json={"value": 1, "ttl_s": TTL_S}).status_code == 200
    assert stack.project.api.get(item).status_code == 200
    wait_until(lambda: stack.project.api.get(item).status_code == 404, 10 * TTL_S)
    assert time.monotonic() - began >= TTL_S


def test_a_node_with_a_wrong_token(stack: FaultStack, report: Report, seed: int, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("0" * 64)
    override = tmp_path / "wrong-token.yaml"
    override.write_text(f"secrets:\n  ray_auth_token:\n    file: {token}\n")
    with under_load(stack, "one more worker, with a wrong token", ACTOR_S, seed) as run:
        run.mark("start")
        files = ["--file", "compose.yaml", "--file", str(override)]
        refused = stack.project.run("docker", "compose", *files, "run", "--rm", "--no-deps", "-T", "ray-worker")
        run.mark("refused")
        assert refused.returncode != 0
        assert "token" in refused.stdout.lower(), refused.stdout
    report.add(run)
    run.finished.check()


def test_rotate_token(stack: FaultStack, report: Report, seed: int) -> None:
    stack.repair()
    stack.project.put("token", "item", "kept")
    before = stack.project.token
    stack.project.make("rotate-token")
    stack.rejoin_load_node()
    assert stack.project.token != before
    with under_load(stack, "after `make rotate-token`", WORKER_S, seed) as run:
        assert stack.project.get("token", "item") == "kept"
    assert stack.project.dashboard_status(before) == 403
    report.add(run)
    run.finished.check()


def test_a_worker_with_another_token_is_told_by_ps_and_brought_back_by_up(stack: FaultStack) -> None:
    stack.project.put("token", "item", "kept")
    (stack.project.folder / ".secrets/other").write_text("f" * 64)
    (stack.project.folder / "other.yaml").write_text("secrets: {ray_auth_token: {file: .secrets/other}}")
    up = ["up", "--detach", "--no-deps", "--no-build", "--force-recreate", "ray-worker"]
    started = stack.project.run("docker", "compose", "--file=compose.yaml", "--file=other.yaml", *up)
    assert started.returncode == 0, started.stdout
    wait_until(lambda: "InvalidAuthToken" in stack.container(WORKER).logs().decode())
    shown = stack.project.make("ps")
    assert "the services have different tokens: `make rotate-token`" in shown
    assert "another token" in stack.project.make("up")
    assert stack.project.get("token", "item") == "kept"
    assert "What to do" not in stack.project.make("ps")
