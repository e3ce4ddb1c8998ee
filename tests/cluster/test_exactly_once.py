"""A write is done once and in no wrong order, whatever dies and however often it is sent."""

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Any
from uuid import uuid4

import httpx
import pytest
from ray.actor import ActorHandle

from seedcore.api.app import create_app
from seedcore.cluster.bootstrap import get_miss_tracker, get_mw_store
from seedcore.memory.working_memory import MwManager
from seedcore.settings import Settings
from tests.cluster.processes import kill_process, paused, pid_of
from tests.engines import Server
from tests.waiting import wait_until

LARGE = "x" * 300_000  # Ray puts it into its object store, and so may deliver it after a small one
TRIES = 15
DEATHS = 3


pytestmark = pytest.mark.usefixtures("engine")


class Keeper:
    """What keeps the items: an actor of the memory, or the server.

    Args:
        actor: of the memory.
        server: None on SQLite.
    """

    def __init__(self, actor: Callable[[], ActorHandle[Any]], server: Server | None) -> None:
        self._actor, self._server = actor, server

    def paused(self) -> AbstractContextManager[None]:
        """Let it do nothing."""
        return paused(self._actor()) if self._server is None else self._server.paused()

    def die(self) -> None:
        """Kill its process, and wait for the next one."""
        if self._server is not None:
            self._server.kill()
            self._server.start()
            return
        actor = self._actor()
        killed = kill_process(actor)
        wait_until(lambda: pid_of(actor) != killed)


@pytest.fixture
def server(request: pytest.FixtureRequest, engine: str) -> Server | None:
    """On Valkey."""
    found: Server | None = None if engine == "sqlite" else request.getfixturevalue("valkey")
    return found


@pytest.mark.parametrize("old", ["small", LARGE], ids=["small", "large"])
async def test_a_write_that_was_given_up_does_not_land_over_a_later_one(
    memory: MwManager, server: Server | None, item_id: str, old: str
) -> None:
    await memory.connect_async()
    keeper = await asyncio.to_thread(Keeper, get_mw_store, server)
    for number in range(TRIES):
        pause = keeper.paused()
        await asyncio.to_thread(pause.__enter__)
        try:
            writing = asyncio.create_task(memory.set_item_async(item_id, old))
            await asyncio.wait([writing], timeout=0.05)
            writing.cancel()
            with suppress(asyncio.CancelledError):
                await writing
        finally:
            pause.__exit__(None, None, None)
        await memory.set_item_async(item_id, number)
        for _ in range(10):  # time for the old one to arrive
            await memory.set_item_async("another item", number)
            assert await memory.get_item_async(item_id) == number


def test_a_delete_says_what_it_did_while_the_keeper_dies(memory: MwManager, server: Server | None) -> None:
    with killed_a_few_times(Keeper(get_mw_store, server)) as deaths:
        number = 0
        while not deaths.done():
            number += 1
            memory.set_item(f"item-{number}", number)
            assert memory.delete_item(f"item-{number}"), number


def test_misses_are_counted_once_while_their_keeper_dies(
    memory: MwManager, server: Server | None, item_id: str
) -> None:
    asked = 0
    with killed_a_few_times(Keeper(get_miss_tracker, server)) as deaths:
        while not deaths.done():
            memory.get_item(item_id)
            asked += 1
    counted = {hot.item_id: hot.misses - hot.overcount for hot in memory.get_hot_items(1000)}
    assert counted[item_id] == asked


@contextmanager
def killed_a_few_times(keeper: Keeper) -> Iterator[Future[None]]:
    """Its process is killed again and again until the future is done."""

    def kill() -> None:
        for _ in range(DEATHS):
            keeper.die()

    with ThreadPoolExecutor(1) as pool:
        deaths = pool.submit(kill)
        yield deaths
        deaths.result()


async def test_a_retry_over_http_changes_nothing_a_second_time(settings: Settings) -> None:
    url = f"/organs/organ-{uuid4().hex[:8]}/items/plan"
    app = create_app()
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1", timeout=60) as api,
    ):
        key = {"Idempotency-Key": "one"}
        assert (await api.put(url, json={"value": 1}, headers=key)).status_code == 200
        assert (await api.put(url, json={"value": 2})).status_code == 200
        assert (await api.put(url, json={"value": 1}, headers=key)).status_code == 200
        assert (await api.get(url)).json()["value"] == 2

        assert [(await api.delete(url, headers=key)).status_code for _ in range(2)] == [200, 200]
        assert (await api.delete(url)).status_code == 404

        assert (await api.put(url, json={"value": 3}, headers={"Idempotency-Key": "x" * 300})).status_code == 422
