"""The socket of an actor, with the real actors behind it."""

import asyncio
import gc
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import psutil
import pytest

from seedcore.actors import call_socket, local_calls
from seedcore.actors.call_socket import HEADER, MAX_CALL_BYTES, MAX_CONNECTIONS, calls_frame
from seedcore.actors.calls import Answer, Call, pack_new
from seedcore.actors.local_calls import LocalCalls
from seedcore.actors.miss_tracker import MissTracker
from seedcore.actors.mw_store import MwStore
from seedcore.actors.shared_cache import SharedCache
from seedcore.errors import SeedCoreError, ValueTooLargeError
from seedcore.settings import PROJECT_ROOT
from seedcore.store.engine import HotItem
from seedcore.store.files import array_files
from seedcore.store.limits import EVERYBODY
from seedcore.store.requests import RequestId
from seedcore.store.values.codec import aside_encoder
from tests.unit.conftest import SetKnobs
from tests.unit.performing import keeper_of
from tests.waiting import wait_until

STORE = "ns/mw.sqlite3"
DEADLINE_S = 60.0
GET = Call("get_many", ("agent", ["plan"]))
ACTOR = f"""
import signal
from seedcore.actors.mw_store import MwStore
store = MwStore({STORE!r})
print("ready", flush=True)
signal.pause()
"""


@pytest.fixture(autouse=True)
def state_dir(knobs: SetKnobs, tmp_path: Path) -> Path:
    knobs(STATE_DIR=str(tmp_path), SHARED_CACHE_MAX_BYTES="1500", LOG_LEVEL="ERROR")
    return tmp_path


@pytest.fixture
def store(state_dir: Path) -> Iterator[MwStore]:
    store = MwStore(STORE)
    yield store
    store.close()
    assert not (state_dir / f"{STORE}.socket").exists()


@pytest.fixture
def calls(store: MwStore, state_dir: Path) -> LocalCalls:
    return LocalCalls(state_dir / STORE)


@contextmanager
def actor_process() -> Iterator["subprocess.Popen[str]"]:
    command = [sys.executable, "-c", ACTOR]
    with subprocess.Popen(command, cwd=PROJECT_ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        try:
            yield process
        finally:
            process.kill()


def stop(actor: "subprocess.Popen[str]") -> None:
    actor.send_signal(signal.SIGSTOP)
    wait_until(lambda: psutil.Process(actor.pid).status() == psutil.STATUS_STOPPED)


def a_set(number: int, value: bytes = b"value") -> Call:
    return Call("set_many", ("agent", {"plan": value}, None), RequestId(b"client", number, 1))


def answers(calls: LocalCalls, *which: Call) -> list[Answer]:
    found = calls.perform(list(which), DEADLINE_S)
    assert found is not None, "nobody answered at the socket"
    return found


def connected(state_dir: Path) -> socket.socket:
    client = socket.socket(socket.AF_UNIX)
    client.connect(str(state_dir / f"{STORE}.socket"))
    client.settimeout(DEADLINE_S)
    return client


def test_calls_and_answers_are_those_of_ray_and_are_counted_by_their_way(store: MwStore, calls: LocalCalls) -> None:
    assert answers(calls, a_set(1), GET) == [Answer(None), Answer({"plan": b"value"})]
    assert answers(calls, Call("delete_many", ("agent", ["plan", "other"]), RequestId(b"client", 2, 1))) == [
        Answer(["plan"])
    ]
    store.perform([["get_many", ["agent", []], None]])
    stats = store.stats()
    assert (stats["calls_by_socket_total"], stats["calls_by_ray_total"]) == (2, 1)


def test_a_request_is_done_once_whichever_way_it_comes(store: MwStore, calls: LocalCalls) -> None:
    request = RequestId(b"client", 1, 1)
    call = Call("delete_many", ("agent", ["plan"]), request)
    answers(calls, Call("set_many", ("agent", {"plan": b"value"}, None), RequestId(b"other", 1, 1)))
    first = answers(calls, call)
    answers(calls, Call("set_many", ("agent", {"plan": b"value"}, None), RequestId(b"other", 2, 1)))
    packed_request = [request.client_id, request.number, request.first_incomplete, []]
    assert store.perform([["delete_many", ["agent", ["plan"]], packed_request]]) == [list(first[0])]
    assert answers(calls, call) == first
    assert answers(calls, GET) == [Answer({"plan": b"value"})]


def test_an_error_comes_as_what_it_is(state_dir: Path) -> None:
    cache = SharedCache("ns/cache.sqlite3")
    calls = LocalCalls(state_dir / "ns/cache.sqlite3")
    too_large = Call("set_many", (EVERYBODY, {"plan": bytes(2000)}, None), RequestId(b"client", 1, 1))
    (answer,) = answers(calls, too_large)
    assert isinstance(answer.error, ValueTooLargeError)
    assert "SHARED_CACHE_MAX_BYTES" in str(answer.error)
    (answer,) = answers(calls, Call("no_such_method", ()))
    assert isinstance(answer.error, SeedCoreError)
    cache.close()


def test_misses_are_counted_and_listed(state_dir: Path) -> None:
    tracker = MissTracker("ns/misses.sqlite3")
    calls = LocalCalls(state_dir / "ns/misses.sqlite3")
    answers(calls, Call("record", ({"a": 2, "b": 3},), RequestId(b"client", 1, 1)))
    (answer,) = answers(calls, Call("top", (1,)))
    assert [HotItem(*item) for item in answer.result] == [HotItem("b", 3, 0)]
    tracker.close()


def test_what_is_large_goes_through_ray(store: MwStore, calls: LocalCalls) -> None:
    array = pack_new(*aside_encoder(array_files.MIN_BYTES)(np.arange(100_000)))
    assert isinstance(array, list)
    assert calls.perform([Call("set_many", ("agent", {"plan": array}, None))], DEADLINE_S) is None
    assert calls.perform([a_set(1, bytes(MAX_CALL_BYTES))], DEADLINE_S) is None
    store.perform([["set_many", ["agent", {"plan": array}, None], [b"other", 1, 1, []]]])
    assert calls.perform([GET], DEADLINE_S) is None  # the answer has an array in it
    assert answers(calls, a_set(2)) == [Answer(None)]  # which is no failure of the socket


async def test_coroutines_share_a_connection_and_get_their_own_answers(store: MwStore, calls: LocalCalls) -> None:
    async def set_and_get(number: int) -> object:
        item_id, value = f"item-{number}", b"x" * number * 300
        write = Call("set_many", ("agent", {item_id: value}, None), RequestId(b"client", number, 1))
        await calls.perform_async([write], DEADLINE_S, is_small=True)
        found = await calls.perform_async([Call("get_many", ("agent", [item_id]))], DEADLINE_S, is_small=False)
        return found == [Answer({item_id: value})]

    assert all(await asyncio.gather(*(set_and_get(number) for number in range(1, 200))))
    reads = [asyncio.create_task(calls.perform_async([GET], DEADLINE_S, is_small=True)) for _ in range(10)]
    await asyncio.sleep(0)
    for read in reads[::2]:
        read.cancel()
    assert await asyncio.gather(*reads[1::2]) == [[Answer({})]] * 5


def test_who_does_not_see_the_socket_is_told_so_and_looks_again(
    state_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    patient, calls = LocalCalls(state_dir / STORE), LocalCalls(state_dir / STORE)
    for client, look_again_s in ((patient, 1000.0), (calls, 0.0)):
        monkeypatch.setattr(local_calls, "LOOK_AGAIN_S", look_again_s)
        assert client.perform([GET], DEADLINE_S) is None
    with actor_process() as first:
        wait_until(lambda: calls.perform([a_set(1)], DEADLINE_S) is not None)
        assert patient.perform([GET], DEADLINE_S) is None  # not yet
        first.kill()
        first.wait()
        assert calls.perform([GET], DEADLINE_S) is None
    assert asyncio.run(calls.perform_async([GET], DEADLINE_S, is_small=True)) is None
    with actor_process():  # in whose way the first one's socket is
        wait_until(lambda: calls.perform([GET], DEADLINE_S) == [Answer({"plan": b"value"})])


def test_who_is_connected_to_the_keeper_of_before_is_led_to_the_new_one(store: MwStore, calls: LocalCalls) -> None:
    answers(calls, a_set(1))
    successor = MwStore(STORE)
    assert answers(calls, Call("delete_many", ("agent", ["plan"]), RequestId(b"client", 2, 1))) == [Answer(["plan"])]
    assert (keeper_of(store)._calls["socket"], keeper_of(successor)._calls["socket"]) == (1, 1)
    successor.close()


async def test_an_actor_that_is_silent_is_not_waited_for_longer_than_said(state_dir: Path) -> None:
    with actor_process() as actor:
        calls = LocalCalls(state_dir / STORE)
        answers(calls, a_set(1))
        await calls.perform_async([GET], DEADLINE_S, is_small=True)
        stop(actor)
        with pytest.raises(TimeoutError):
            await calls.perform_async([GET], 0.1, is_small=True)
        with pytest.raises(TimeoutError):
            await asyncio.to_thread(calls.perform, [GET], 0.1)
        actor.send_signal(signal.SIGCONT)
        assert answers(calls, GET) == [Answer({"plan": b"value"})]
        assert await calls.perform_async([GET], DEADLINE_S, is_small=True) == [Answer({"plan": b"value"})]


async def test_a_process_that_dies_under_way_leaves_its_calls_to_ray(
    state_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with actor_process() as actor:
        calls = LocalCalls(state_dir / STORE)
        answers(calls, a_set(1))
        stop(actor)
        large = a_set(2, bytes(MAX_CALL_BYTES // 2))  # more than the kernel takes
        coroutines = [
            *(asyncio.create_task(calls.perform_async([large], DEADLINE_S, is_small=False)) for _ in range(2)),
            asyncio.create_task(calls.perform_async([GET], DEADLINE_S, is_small=True)),
            asyncio.create_task(asyncio.to_thread(calls.perform, [GET], DEADLINE_S)),
        ]
        await asyncio.sleep(0.05)  # so that they are under way; if not, they find nobody
        actor.kill()
        assert await asyncio.gather(*coroutines) == [None] * 4
    del coroutines
    gc.collect()
    assert caplog.records == []  # of exceptions that nobody retrieved


def test_a_child_process_has_connections_of_its_own(calls: LocalCalls) -> None:
    answers(calls, a_set(1))
    taken = calls._take()
    calls._idle.append(taken)
    child = os.fork()
    if not child:
        os._exit(0 if calls._take() is not taken else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_a_folder_with_a_long_name(tmp_path: Path, knobs: SetKnobs) -> None:
    knobs(STATE_DIR=str(tmp_path / ("long" * 30)))
    store = MwStore(STORE)
    assert answers(LocalCalls(tmp_path / ("long" * 30) / STORE), GET) == [Answer({})]
    store.close()


def test_nobody_else_may_connect(store: MwStore, state_dir: Path) -> None:
    assert (state_dir / f"{STORE}.socket").stat().st_mode & 0o777 == 0o600
    assert {path.name for path in (state_dir / "ns").iterdir() if "socket" in path.name} == {"mw.sqlite3.socket"}


def test_an_actor_lives_where_no_socket_can_be(state_dir: Path) -> None:
    (state_dir / f"{STORE}.socket").mkdir(parents=True)
    store = MwStore(STORE)
    assert store.perform([["get_many", ["agent", []], None]]) == [[{}, None]]
    assert LocalCalls(state_dir / STORE).perform([GET], DEADLINE_S) is None


def test_a_flood_of_connections_is_bounded_and_leaves_the_way_through_ray(
    store: MwStore, state_dir: Path, calls: LocalCalls
) -> None:
    threads = threading.active_count()
    flood = [connected(state_dir) for _ in range(MAX_CONNECTIONS + 20)]
    for late in flood[MAX_CONNECTIONS:]:
        assert late.recv(1) == b""
    assert threading.active_count() <= threads + MAX_CONNECTIONS
    assert calls.perform([GET], DEADLINE_S) is None
    for connection in flood:
        connection.close()
    wait_until(lambda: calls.perform([GET], DEADLINE_S) == [Answer({})])


@pytest.mark.parametrize(
    "sent",
    [
        HEADER.pack(MAX_CALL_BYTES + 1),
        HEADER.pack(3) + b"\xc1\xc1\xc1",
        HEADER.pack(1) + b"\x07",
        (calls_frame([GET]) or b"")[:-1],
    ],
    ids=["giant", "no msgpack", "no calls", "half"],
)
def test_who_sends_something_else_is_not_listened_to(
    store: MwStore, state_dir: Path, calls: LocalCalls, sent: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(call_socket, "STALLED_S", 0.2)
    with connected(state_dir) as client:
        client.sendall(sent)
        assert client.recv(1) == b""
    assert answers(calls, GET) == [Answer({})]


def test_who_reads_no_answers_is_left_and_others_are_served(
    store: MwStore, state_dir: Path, calls: LocalCalls, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers(calls, a_set(1, bytes(2**20)))
    monkeypatch.setattr(call_socket, "STALLED_S", 0.2)
    frame = calls_frame([GET])
    assert frame is not None
    with connected(state_dir) as client:
        client.sendall(frame)  # the answer is larger than what the kernel keeps for both
        began = time.monotonic()
        assert answers(calls, GET)
        received = 0
        server = keeper_of(store)._server
        wait_until(lambda: server is not None and server._room._value >= MAX_CONNECTIONS - 1)
        while data := client.recv(2**16):
            received += len(data)
        assert received < 2**20
        assert time.monotonic() - began < DEADLINE_S
