"""What a user keeps when a process is killed, a log is torn off, or a disk is full."""

import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from seedcore.errors import StoreUnavailableError
from seedcore.settings import PROJECT_ROOT, Synchronous
from seedcore.store.sqlite.item_store import ItemStore

NOTES_BEFORE_THE_KILL = 50


def put(store: ItemStore, number: int, value: bytes = b"value") -> None:
    """Write two items in one transaction."""
    with store.database.transaction() as connection:
        store.set_many(connection, "", {f"first {number}": value, f"second {number}": value}, None)


def kept_numbers(store: ItemStore, up_to: int) -> list[int]:
    """The transactions that are there, each of them whole."""
    numbers = []
    for number in range(up_to):
        found = store.get_many("", [f"first {number}", f"second {number}"])
        assert len(found) in (0, 2), f"half of transaction {number} is there"
        if found:
            numbers.append(number)
    return numbers


@contextmanager
def files_at_most(size: int) -> Iterator[None]:
    """No file may grow beyond `size` bytes, as on a full disk; holds for root as well."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@contextmanager
def opened(path: Path) -> Iterator[ItemStore]:
    store = ItemStore(path, Synchronous.NORMAL)
    try:
        yield store
    finally:
        store.database.close()


def test_a_killed_process_loses_no_write_that_it_acknowledged(tmp_path: Path) -> None:
    path = tmp_path / "items.sqlite3"
    command = [sys.executable, "-m", "tests.unit.kept_notes", str(path)]
    with subprocess.Popen(command, cwd=PROJECT_ROOT, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        acknowledged = [int(writer.stdout.readline()) for _ in range(NOTES_BEFORE_THE_KILL)]
        writer.kill()
        acknowledged += map(int, writer.stdout.read().split())  # until the kill arrived
    with opened(path) as store:
        kept = kept_numbers(store, len(acknowledged) + 10)
        assert kept[: len(acknowledged)] == acknowledged
        assert store.stats()["items"] == 2 * len(kept)


@pytest.mark.parametrize("torn_bytes", [1, 1000, 5000, 20_000])
def test_a_log_that_was_torn_off_loses_whole_transactions_from_its_end_only(tmp_path: Path, torn_bytes: int) -> None:
    path, copy = tmp_path / "items.sqlite3", tmp_path / "copy.sqlite3"
    with opened(path) as store:
        for number in range(10):
            put(store, number)
        shutil.copy(path, copy)
        log = Path(f"{path}-wal").read_bytes()
    Path(f"{copy}-wal").write_bytes(log[:-torn_bytes])
    with opened(copy) as torn:
        kept = kept_numbers(torn, 10)
        assert kept == list(range(len(kept)))
        assert len(kept) < 10
        assert torn.stats()["items"] == 2 * len(kept)
        put(torn, 10)
        assert kept_numbers(torn, 11) == [*kept, 10]


def test_a_full_disk_refuses_the_write_keeps_the_rest_and_writes_again_when_there_is_space(tmp_path: Path) -> None:
    path = tmp_path / "items.sqlite3"
    with opened(path) as store:
        put(store, 0)
        with files_at_most(Path(f"{path}-wal").stat().st_size + 1):
            with pytest.raises(StoreUnavailableError, match=str(path)):
                put(store, 1, b"large" * 10_000)
            assert kept_numbers(store, 3) == [0]
        put(store, 2)
        assert kept_numbers(store, 3) == [0, 2]
        assert store.stats()["items"] == 4
    with opened(path) as store:
        assert kept_numbers(store, 3) == [0, 2]
