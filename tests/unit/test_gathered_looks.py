"""Looks at a real store that coroutines make in the same turn of their loop."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from seedcore.errors import StoreUnavailableError
from seedcore.memory.gathered_looks import GatheredLooks
from seedcore.settings import Synchronous
from seedcore.store.sqlite.item_store import ItemStore
from seedcore.store.sqlite.store_reader import StoreReader, Unread
from seedcore.store.values.codec import Encoded
from tests.unit.test_store_reader import ORGAN, write

SMALL_BYTES = 100


class Looks:
    """Gathered looks at a store, and how they were done."""

    def __init__(self, path: Path) -> None:
        self.store = ItemStore(path, Synchronous.NORMAL)
        assert self.store.database.identity
        self.reader = StoreReader(path, self.store.database.identity)
        self.done: list[list[str]] = []
        self.gathered = GatheredLooks(self._one, self._many)

    def _one(self, owner: str, item_id: str) -> Encoded | Unread | None:
        self.done.append([item_id])
        return self.reader.get(owner, item_id, SMALL_BYTES)

    def _many(self, owner: str, item_ids: Sequence[str]) -> dict[str, Encoded] | None:
        self.done.append(list(item_ids))
        return self.reader.get_many(owner, item_ids, SMALL_BYTES)


@pytest.fixture
async def looks(tmp_path: Path) -> Looks:
    looks = Looks(tmp_path / "store.sqlite3")
    write(looks.store, {name: name.encode() for name in "abcd"})
    write(looks.store, {"large": b"x" * (SMALL_BYTES + 1)})
    return looks


async def test_the_looks_of_one_turn_are_two(looks: Looks) -> None:
    found = await asyncio.gather(*(looks.gathered.look(ORGAN, name) for name in "abcad"))
    assert found == [b"a", b"b", b"c", b"a", b"d"]
    assert looks.done == [["a"], ["b", "c", "a", "d"]]


async def test_the_looks_of_one_task_are_done_at_once(looks: Looks) -> None:
    for name in "abc":
        assert await looks.gathered.look(ORGAN, name) == name.encode()
    assert looks.done == [["a"], ["b"], ["c"]]


async def test_owners_and_missing_items_are_told_apart(looks: Looks) -> None:
    asked = [(ORGAN, "a"), (ORGAN, "b"), ("another", "b"), (ORGAN, "missing"), (ORGAN, "c")]
    found = await asyncio.gather(*(looks.gathered.look(owner, name) for owner, name in asked))
    assert found == [b"a", b"b", None, None, b"c"]


async def test_beside_one_that_is_too_large_their_actor_is_asked(looks: Looks) -> None:
    found = await asyncio.gather(*(looks.gathered.look(ORGAN, name) for name in ("a", "large", "b")))
    assert found == [b"a", Unread.ASK, Unread.ASK]


async def test_a_write_that_ended_before_the_read_began_is_seen(looks: Looks) -> None:
    async def write_then_read(number: int) -> Encoded | Unread | None:
        write(looks.store, {"number": b"%d" % number})
        return await looks.gathered.look(ORGAN, "number")

    found = await asyncio.gather(*map(write_then_read, range(20)))
    assert all(isinstance(value, bytes) and int(value) >= number for number, value in enumerate(found))


async def test_who_is_cancelled_takes_nothing_from_the_others(looks: Looks) -> None:
    tasks = [asyncio.create_task(looks.gathered.look(ORGAN, name)) for name in "abcd"]
    await asyncio.sleep(0)  # the first has its value, the others wait
    tasks[2].cancel()
    assert await asyncio.gather(*tasks[:2], tasks[3]) == [b"a", b"b", b"d"]
    assert tasks[2].cancelled()


async def test_all_hear_of_a_store_that_cannot_be_read(looks: Looks) -> None:
    looks.reader.path.rename(looks.reader.path.with_name("elsewhere"))
    found = await asyncio.gather(*(looks.gathered.look(ORGAN, name) for name in "abc"), return_exceptions=True)
    assert [type(error) for error in found] == [StoreUnavailableError] * 3
