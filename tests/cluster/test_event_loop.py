"""Nothing that MwManager's coroutines do keeps another coroutine of the same event loop waiting."""

import asyncio
import os
import signal
import statistics
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

import numpy as np
import pytest

from seedcore.cluster.bootstrap import bootstrap_actors, get_miss_tracker, get_mw_store, get_shared_cache
from seedcore.errors import ActorNotFoundError, ActorUnavailableError
from seedcore.memory.working_memory import MwManager
from tests.cluster.processes import kill_for_good, pid_of

pytestmark = pytest.mark.alone  # it measures the loop, not the test beside it

PAUSE_S: Final = 2.0  # how long an actor is gone, and so how long a blocking call would stall the loop
PROMISED_S: Final = 0.05  # in which another coroutine is served
BEAT_S: Final = 0.005
MIN_BEATS: Final = 200  # so that one of them may be late
MIN_BEATS_OF_A_WAIT: Final = 20


@asynccontextmanager
async def heartbeats() -> AsyncIterator[list[float]]:
    """Seconds by which a coroutine that does nothing but sleep was served too late, beat by beat."""
    loop = asyncio.get_running_loop()
    late: list[float] = []

    async def beat() -> None:
        while True:
            due = loop.time() + BEAT_S
            await asyncio.sleep(BEAT_S)
            late.append(loop.time() - due)

    beating = asyncio.create_task(beat())
    try:
        yield late
    finally:
        beating.cancel()


def served(late: list[float]) -> None:
    """The loop went on; one that waits for the actor has no beats, and is late by as long as the actor is gone."""
    assert len(late) > MIN_BEATS_OF_A_WAIT
    assert max(late) < PAUSE_S / 2, sorted(late)[-10:]


def served_at_once(late: list[float]) -> None:
    """No call holds the loop for long. One beat in a hundred may be late, since the machine has other work to do."""
    assert len(late) >= MIN_BEATS
    assert statistics.quantiles(late, n=100)[-1] < PROMISED_S, sorted(late)[-10:]


ACTORS = {"mw": get_mw_store, "shared_cache": get_shared_cache, "miss_tracker": get_miss_tracker}


@pytest.mark.parametrize("name", ACTORS)
async def test_with_an_actor_paused(memory: MwManager, item_id: str, name: str) -> None:
    await memory.connect_async()
    pid = await asyncio.to_thread(lambda: pid_of(ACTORS[name]()))
    os.kill(pid, signal.SIGSTOP)
    try:
        async with heartbeats() as late:
            calls = [
                asyncio.create_task(call)
                for call in (
                    memory.get_item_async(item_id),
                    memory.set_item_async(f"{item_id}-own", 1),
                    memory.set_global_item_async(f"{item_id}-shared", 2),
                    memory.get_hot_items_async(3),
                )
            ]
            _, waiting = await asyncio.wait(calls, timeout=PAUSE_S)
            assert waiting
        served(late)
    finally:
        os.kill(pid, signal.SIGCONT)
    await asyncio.gather(*calls)
    assert await memory.get_items_async([f"{item_id}-own", f"{item_id}-shared"]) == {
        f"{item_id}-own": 1,
        f"{item_id}-shared": 2,
    }


async def test_with_an_actor_killed_for_good(memory: MwManager, item_id: str) -> None:
    await memory.set_item_async(item_id, "kept")
    await asyncio.to_thread(lambda: kill_for_good(get_mw_store()))
    async with heartbeats() as late:
        with pytest.raises((ActorNotFoundError, ActorUnavailableError), match="make bootstrap"):
            await memory.set_item_async(item_id, "not kept")
    served(late)
    await asyncio.to_thread(bootstrap_actors)
    assert await memory.get_item_async(item_id) == "kept"


async def test_with_an_actor_restarting(memory: MwManager, item_id: str) -> None:
    await memory.set_item_async(item_id, 0)
    actor: Any = await asyncio.to_thread(get_mw_store)
    async with heartbeats() as late:
        os.kill(await asyncio.to_thread(pid_of, actor), signal.SIGKILL)
        for number in range(1, 50):
            await memory.set_item_async(item_id, number)
            assert await memory.get_item_async(item_id) == number
    served(late)


async def _large_array(memory: MwManager, item_id: str) -> None:
    array = np.ones(16 * 2**17)  # 16 MiB
    await memory.set_item_async(item_id, array)
    read = await memory.get_item_async(item_id)
    assert read.nbytes == array.nbytes
    await memory.delete_item_async(item_id)


async def _many_items(memory: MwManager, item_id: str) -> None:
    items = {f"{item_id}-{number}": {"number": number} for number in range(20_000)}
    await memory.set_items_async(items)
    assert len(await memory.get_items_async(items)) == len(items)
    await memory.delete_items_async(items)


@pytest.mark.parametrize("work", [_large_array, _many_items])
async def test_with_large_values(
    memory: MwManager, item_id: str, work: Callable[[MwManager, str], Awaitable[None]]
) -> None:
    await memory.connect_async()
    async with heartbeats() as late:
        while len(late) < MIN_BEATS:
            await work(memory, item_id)
    served_at_once(late)
