"""What only an engine elsewhere can do to the memory: die, stand still, load, move; and what must hold all the same."""

import asyncio
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, nullcontext, suppress
from typing import cast

import numpy as np
import psutil
import pytest
import redis

from seedcore.errors import EngineUnavailableError, SeedCoreError, ValueTooLargeError
from seedcore.memory.working_memory import MwManager
from seedcore.settings import load_settings
from seedcore.store.requests import idempotency_key
from seedcore.store.valkey.envelope import PIECE_BYTES
from seedcore.store.valkey.items import ValkeyItems
from seedcore.store.valkey.memory import ValkeyMemory
from seedcore.store.valkey.refusals import GIVEN_UP
from tests.engines import Server, needs_engine
from tests.valkey.conftest import SHORT_DEADLINE_S, Connect
from tests.valkey.load import written_while
from tests.waiting import wait_until, wait_until_async

pytestmark = needs_engine

DEATHS = 3
IDLE = 40


def test_nothing_that_was_acknowledged_is_lost_when_the_server_is_killed(server: Server, memory: MwManager) -> None:
    def kill() -> None:
        for _ in range(DEATHS):
            server.kill()
            server.start()

    acknowledged = written_while([memory], kill)
    assert memory.get_items(acknowledged) == acknowledged


def test_nor_when_it_stands_still_for_a_while(server: Server, memory: MwManager) -> None:
    def pause() -> None:
        with server.paused():
            time.sleep(0.5)  # for which nobody is answered

    acknowledged = written_while([memory], pause)
    assert memory.get_items(acknowledged) == acknowledged


def test_a_write_that_failed_is_not_done_after_a_later_one_of_another_organ(server: Server, connect: Connect) -> None:
    memory = connect(server.url, "one", CALL_DEADLINE_S="1")
    other = MwManager("other")
    memory.set_item("plan", "before")
    with server.paused(), pytest.raises(EngineUnavailableError):
        memory.set_item("plan", "given up")  # it waits in the buffers of the server
    other.set_item("plan", 1)
    seen = memory.get_item("plan")
    for _ in range(20):
        assert memory.get_item("plan") == seen


def test_a_write_of_nothing_keeps_no_other_one_from_being_done(server: Server, connect: Connect) -> None:
    memory = connect(server.url, "one", CALL_DEADLINE_S="1")
    memory.set_item("plan", "before")
    with server.paused(), pytest.raises(EngineUnavailableError):
        memory.set_item("plan", "given up")
    memory.set_items({})
    assert memory.delete_items([]) == []
    given_up = cast(ValkeyItems, memory._own)._given_up
    assert given_up
    memory.set_item("plan", 1)
    assert not given_up


def test_who_has_a_key_may_send_a_write_that_failed_once_more(server: Server, connect: Connect) -> None:
    memory = connect(server.url, "one", CALL_DEADLINE_S="1")
    with server.paused(), pytest.raises(EngineUnavailableError), idempotency_key("PUT /plan 1"):
        memory.set_item("plan", 1)
    memory.set_item("other", 1)
    with idempotency_key("PUT /plan 1"):
        memory.set_item("plan", 1)
    assert memory.get_item("plan") == 1
    memory.set_item("plan", 2)
    with idempotency_key("PUT /plan 1"):
        memory.set_item("plan", 1)  # which was done
    assert memory.get_item("plan") == 2


def test_answers_are_forgotten_when_nobody_can_ask_again(server: Server, memory: MwManager) -> None:
    memory.set_item("plan", 1)
    with idempotency_key("PUT /plan 1"):
        memory.set_item("plan", 2)
    with server.client() as client:
        lives = sorted(client.ttl(key) for key in client.scan_iter(match="*:r:*"))
    assert [round(seconds / 3600) for seconds in lives] == [2, 7 * 24]


async def test_a_write_that_was_cancelled_is_not_done_after_a_later_one(server: Server, memory: MwManager) -> None:
    for number in range(10):
        with server.paused():
            writing = asyncio.create_task(memory.set_item_async("plan", "old"))
            await asyncio.wait([writing], timeout=0.05)
            writing.cancel()
        await memory.set_item_async("plan", number)
        for _ in range(5):
            assert await memory.get_item_async("plan") == number


@pytest.mark.parametrize("key", [None, "of the later one"])
def test_a_write_that_was_given_up_and_arrives_late_is_not_done(
    key: str | None, server: Server, memory: MwManager
) -> None:
    items = cast(ValkeyItems, memory._own)
    with ExitStack() as still_open, server.client() as client:
        if key is None:
            still_open.enter_context(items._requests.request())  # so that no number fences off those after it
        with suppress(asyncio.CancelledError), items._request("organ") as (_, given_up):
            (late,) = next(items._keep("organ", items.pack({"plan": "old"}), None, given_up)).commands
            raise asyncio.CancelledError
        with idempotency_key(key) if key else nullcontext():
            memory.set_item("plan", "new")
        with pytest.raises(redis.ResponseError, match=GIVEN_UP):
            client.execute_command(*late)
        assert memory.get_item("plan") == "new"


async def test_whoever_gives_up_does_not_end_a_connection_that_is_being_made(server: Server, memory: MwManager) -> None:
    await asyncio.to_thread(memory.set_item, "plan", 1)
    connections = cast(ValkeyMemory, memory._memory).client._nodes_of_loop.get()

    async def has_idle_one() -> bool:
        return any(one._is_idle() for one in connections.values())

    for is_made in (False, True):
        assert await has_idle_one() == is_made
        with server.paused(), pytest.raises(TimeoutError):
            await asyncio.wait_for(memory.get_item_async("plan"), 0.05)
        if not is_made:
            await wait_until_async(has_idle_one)
    assert await memory.get_item_async("plan") == 1  # and not the answer to the one before


async def test_a_write_that_failed_leaves_no_connection_behind(server: Server, connect: Connect) -> None:
    memory = connect(server.url, CALL_DEADLINE_S=SHORT_DEADLINE_S)
    await memory.set_item_async("plan", 1)
    with server.paused():
        with pytest.raises(EngineUnavailableError, match="does not answer in time"):
            await memory.set_item_async("plan", b"x" * 8_000_000)
        await asyncio.sleep(0)  # in which the loop closes it
        ports = [one.raddr.port for one in psutil.Process().net_connections("tcp") if one.raddr]
        assert server.port not in ports


def test_a_large_array_is_in_small_pieces_that_go_with_it(server: Server, memory: MwManager) -> None:
    array = np.arange(5 * PIECE_BYTES // 8 + 1.0)
    memory.set_item("array", {"many": array, "few": array[:10]})
    with server.client() as client:
        pieces = list(client.scan_iter(match="*:a:*"))
        assert len(pieces) == 6
        assert max(client.strlen(piece) for piece in pieces) == PIECE_BYTES
        assert {client.ttl(piece) for piece in pieces} == {-1}
        np.testing.assert_array_equal(memory.get_item("array")["many"], array)
        memory.set_item("array", array, ttl_s=60)  # which replaces them
        after = list(client.scan_iter(match="*:a:*"))
        assert not set(after) & set(pieces)
        assert all(60 < client.ttl(piece) < 3600 for piece in after)
        memory.delete_item("array")
        assert list(client.scan_iter(match="*:a:*")) == []


def test_a_piece_that_arrives_late_does_not_end_an_array_that_lives(server: Server, memory: MwManager) -> None:
    array = np.arange(PIECE_BYTES // 8 + 1.0)
    memory.set_item("array", array)
    (command,) = next(cast(ValkeyItems, memory._own)._put_pieces("organ", [array.view(np.uint8)])).commands
    with server.client() as client:
        pieces = list(client.scan_iter(match="*:a:*"))
        for piece in pieces:
            client.execute_command(command[0], piece, *command[2:])  # as a first try would, after its time
        assert {client.ttl(piece) for piece in pieces} == {-1}
    np.testing.assert_array_equal(memory.get_item("array"), array)


@pytest.mark.parametrize("ttl_s", [sys.maxsize, 1e306])
def test_a_time_to_live_beyond_all_bounds_is_a_long_one(memory: MwManager, ttl_s: float) -> None:
    memory.set_item("array", np.zeros(PIECE_BYTES, np.uint8))
    memory.set_item("array", 1, ttl_s)
    assert memory.get_item("array") == 1


def test_a_full_server_takes_deletes_after_a_write_that_was_given_up(server: Server, connect: Connect) -> None:
    memory = connect(server.url, "one", CALL_DEADLINE_S="1")
    memory.set_items({"kept": 1, "goes": 2})
    with server.paused(), pytest.raises(EngineUnavailableError):
        MwManager("other").set_item("plan", 1)
    with server.client() as client:
        client.config_set("maxmemory", "1mb")
    assert memory.delete_item("goes")


async def test_reads_go_on_while_writes_wait_for_a_replica(server: Server, connect: Connect) -> None:
    await connect(server.url).set_item_async("plan", 1)
    memory = connect(f"{server.url}?replicas=1", CALL_DEADLINE_S="5")
    writing = [asyncio.create_task(memory.set_item_async(str(number), number)) for number in range(20)]
    await asyncio.sleep(0)
    assert await memory.get_item_async("plan") == 1
    assert not any(one.done() for one in writing)
    failed = await asyncio.gather(*writing, return_exceptions=True)
    assert {type(one) for one in failed} == {EngineUnavailableError}
    assert all("too few replicas" in str(one) for one in failed)


def test_a_shared_array_that_is_evicted_takes_its_pieces_along(server: Server, connect: Connect) -> None:
    memory = connect(server.url, SHARED_CACHE_MAX_BYTES=str(5 * PIECE_BYTES))
    for number in range(4):
        memory.set_global_item(str(number), np.zeros(2 * PIECE_BYTES, np.uint8))
    assert list(memory.get_global_items(map(str, range(4)))) == ["2", "3"]
    with server.client() as client:
        assert len(list(client.scan_iter(match="*:a:*"))) == 4


def test_a_shared_value_that_was_taken_is_there(server: Server, connect: Connect) -> None:
    memory = connect(server.url, SHARED_CACHE_MAX_BYTES="2000")
    refused = []
    for size in range(1970, 2010):
        value = "v" * size
        try:
            memory.set_global_item("large", value)
        except ValueTooLargeError:
            refused.append(size)
        else:
            assert memory.get_item("large") == value
    assert 0 < len(refused) < 40


def test_what_has_expired_leaves_room_in_the_shared_cache(server: Server, connect: Connect) -> None:
    memory = connect(server.url, SHARED_CACHE_MAX_ITEMS="3")
    memory.set_global_items({"a": 1, "b": 1}, ttl_s=0.1)
    memory.set_global_item("stays", 1)
    wait_until(lambda: memory.get_global_items(["a", "b"]) == {})
    memory.set_global_items({"c": 1, "d": 1})
    assert memory.get_global_items(["stays", "c", "d"]) == {"stays": 1, "c": 1, "d": 1}
    stats = ValkeyMemory(load_settings()).shared_stats()
    assert (stats["items"], stats["expirations"], stats["evictions"]) == (3, 2, 0)


def test_two_namespaces_share_a_server(server: Server, connect: Connect) -> None:
    connect(server.url, RAY_NAMESPACE="one").set_item("plan", 1)
    memory = connect(server.url, RAY_NAMESPACE="two")
    assert memory.get_item("plan") is None
    memory.set_item("plan", 2)
    assert connect(server.url, RAY_NAMESPACE="one").get_item("plan") == 1


@pytest.mark.parametrize("organ_id", ["a}b", "{", "}", "%7D", "a/b", "a:i:b", "ü" * 50])
def test_any_organ_id_is_one_of_its_own(connect: Connect, server: Server, organ_id: str) -> None:
    memory = connect(server.url, organ_id)
    memory.set_item("}:i:{x", organ_id)
    assert memory.get_item("}:i:{x") == organ_id
    assert [(owner, item_id) for owner, item_id, *_ in ValkeyMemory(load_settings()).all_items()] == [
        (organ_id, "}:i:{x")
    ]


def test_a_server_without_our_scripts_gets_them(server: Server, memory: MwManager) -> None:
    memory.set_item("plan", 1)
    with server.client() as client:
        client.script_flush()
    memory.set_item("plan", 2)
    assert memory.delete_item("plan") is True


def test_a_process_that_was_forked_has_connections_of_its_own(memory: MwManager) -> None:
    memory.set_item("plan", 0)
    child = os.fork()
    if not child:
        try:
            for number in range(100):
                memory.set_item("of the child", number)
        finally:
            os._exit(0)
    for number in range(100):
        memory.set_item("plan", number)
        assert memory.get_item("plan") == number
    os.waitpid(child, 0)
    assert memory.get_item("of the child") == 99


def test_a_restart_breaks_all_idle_connections_and_costs_one_try(server: Server, connect: Connect) -> None:
    memory = connect(server.url, CALL_DEADLINE_S="2")  # less than a try for each of them takes
    memory.set_item("plan", 1)
    with ThreadPoolExecutor(IDLE) as threads, server.paused():
        reading = [threads.submit(memory.get_item, "plan") for _ in range(IDLE)]
        wait_until(lambda: all(one.running() for one in reading))
    assert {one.result() for one in reading} == {1}
    server.kill()
    server.start()
    assert memory.get_item("plan") == 1


async def test_many_coroutines_share_connections(server: Server, memory: MwManager) -> None:
    await asyncio.gather(*(memory.set_item_async(f"item-{number}", number) for number in range(500)))
    found = await asyncio.gather(*(memory.get_item_async(f"item-{number}") for number in range(500)))
    assert found == list(range(500))
    with server.client() as client:
        assert client.info("clients")["connected_clients"] < 10


def test_all_memory_of_a_server_that_comes_too_late_is_told(server: Server, connect: Connect) -> None:
    memory = connect(server.url, CALL_DEADLINE_S="1")
    server.kill()
    with pytest.raises(SeedCoreError, match=f"the engine at 127.0.0.1:{server.port} does not answer: is it started"):
        memory.get_item("plan")
