"""Reads that coroutines make in the same turn of their loop, of a real store."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from seedcore.errors import StoreUnavailableError
from seedcore.memory.gathered_reads import GatheredReads
from seedcore.settings import Synchronous
from seedcore.store.files.array_files import Encoded
from seedcore.store.sqlite.item_store import ItemStore
from seedcore.store.sqlite.store_reader import StoreReader
from tests.unit.test_store_reader import ORGAN, write

SMALL_BYTES = 100


class Reads:
    """Gathered reads of a store, and how they were done."""

    def __init__(self, path: Path) -> None:
        self.store = ItemStore(path, Synchronous.NORMAL)
        assert self.store.database.identity
        self.reader = StoreReader(path, self.store.database.identity)
        self.done: list[list[str]] = []
        self.gathered = GatheredReads(asyncio.get_running_loop(), self._one, self._many)

    def _one(self, owner: str, item_id: str) -> Encoded | None:
        self.done.append([item_id])
        return self.reader.get(owner, item_id, SMALL_BYTES)

    def _many(self, owner: str, item_ids: Sequence[str]) -> dict[str, Encoded]:
        self.done.append(list(item_ids))
        return self.reader.get_small(owner, item_ids, SMALL_BYTES)


@pytest.fixture
async def reads(tmp_path: Path) -> Reads:
    reads = Reads(tmp_path / "store.sqlite3")
    write(reads.store, {name: name.encode() for name in "abcd"})
    write(reads.store, {"large": b"x" * (SMALL_BYTES + 1)})
    return reads


async def test_the_reads_of_one_turn_are_two(reads: Reads) -> None:
    found = await asyncio.gather(*(reads.gathered.read(ORGAN, name) for name in "abcad"))
    assert found == [b"a", b"b", b"c", b"a", b"d"]
    assert reads.done == [["a"], ["b", "c", "a", "d"]]


async def test_a_read_alone_is_done_at_once(reads: Reads) -> None:
    for name in "abc":
        assert await reads.gathered.read(ORGAN, name) == name.encode()
        await asyncio.sleep(0)
    assert reads.done == [["a"], ["b"], ["c"]]


async def test_owners_missing_items_and_large_ones_are_told_apart(reads: Reads) -> None:
    asked = [(ORGAN, "a"), (ORGAN, "b"), ("another", "b"), (ORGAN, "missing"), (ORGAN, "large"), (ORGAN, "c")]
    found = await asyncio.gather(*(reads.gathered.read(owner, name) for owner, name in asked))
    assert found == [b"a", b"b", None, None, None, b"c"]


async def test_a_write_that_ended_before_the_read_began_is_seen(reads: Reads) -> None:
    async def write_then_read(number: int) -> Encoded | None:
        write(reads.store, {"number": b"%d" % number})
        return await reads.gathered.read(ORGAN, "number")

    found = await asyncio.gather(*map(write_then_read, range(20)))
    assert all(isinstance(value, bytes) and int(value) >= number for number, value in enumerate(found))


async def test_who_is_cancelled_takes_nothing_from_the_others(reads: Reads) -> None:
    tasks = [asyncio.create_task(reads.gathered.read(ORGAN, name)) for name in "abcd"]
    await asyncio.sleep(0)  # the first has its value, the others wait
    tasks[2].cancel()
    assert await asyncio.gather(*tasks[:2], tasks[3]) == [b"a", b"b", b"d"]
    assert tasks[2].cancelled()


async def test_all_hear_of_a_store_that_cannot_be_read(reads: Reads) -> None:
    reads.reader.path.rename(reads.reader.path.with_name("elsewhere"))
    found = await asyncio.gather(*(reads.gathered.read(ORGAN, name) for name in "abc"), return_exceptions=True)
    assert [type(error) for error in found] == [StoreUnavailableError] * 3
