"""Backups of stores in use, and what is there after a restore."""

import os
import random
import signal
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from seedcore.errors import StoreDamagedError, StoreFencedError, StoreUnavailableError
from seedcore.settings import Synchronous
from seedcore.store.engine import HotItem
from seedcore.store.files.tables import ITEM_SCHEMA
from seedcore.store.recovery.backups import backup, restore
from seedcore.store.requests import RequestId
from seedcore.store.sqlite.item_store import ItemStore
from seedcore.store.sqlite.miss_store import MissStore
from seedcore.store.sqlite.request_log import RequestLog
from tests.unit.test_crashes import kept_numbers, opened, put
from tests.unit.test_damage import PAGE, overwrite
from tests.unit.test_schema import ITEMS_OF_VERSION_1, make


def files_in(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir() if file.suffix != ".lock")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "items.sqlite3"


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return tmp_path / "backups" / "copy.sqlite3"


@contextmanager
def forked_writer(path: Path) -> Iterator[int]:
    """A process that writes numbered pairs of items, the newest number in the last of three."""
    readable, ready = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            store = ItemStore(path, Synchronous.NORMAL)
            for number in range(10**9):
                put(store, number % 300, str(number).encode())
                if number == 300:
                    os.write(ready, b"x")
        finally:
            os._exit(1)
    assert os.read(readable, 1) == b"x"
    yield child
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    os.close(readable)
    os.close(ready)


def test_a_backup_under_a_writing_process_is_of_one_moment(path: Path, copy: Path) -> None:
    with forked_writer(path):
        for _ in range(20):
            assert backup(path, copy) == 600
            with closing(sqlite3.connect(copy)) as connection:
                rows = connection.execute("SELECT CAST(value AS INTEGER) FROM items").fetchall()
            numbers = sorted({number for (number,) in rows})
            assert numbers == list(range(numbers[0], numbers[0] + 300)), "not the last 300 transactions"
    assert files_in(copy.parent) == [copy.name]


def test_a_restore_under_a_living_writer_fences_it_and_its_successor_serves_the_backup(path: Path, copy: Path) -> None:
    with opened(path) as writer:
        put(writer, 0)
        assert backup(path, copy) == 2
        put(writer, 1)
        aside = restore(copy, path)
        with pytest.raises(StoreFencedError, match=str(path)):
            writer.get_many("organ", ["0"])
        with pytest.raises(StoreFencedError, match=str(path)):
            put(writer, 2)
        with opened(path) as successor:
            assert kept_numbers(successor, 3) == [0]
            put(successor, 3)
            writer.database.close()
            put(successor, 4)
        with opened(path) as successor:
            assert kept_numbers(successor, 5) == [0, 3, 4]
        assert aside is not None
        assert aside.name.startswith("items.sqlite3.before-restore-")
        with opened(aside) as before:
            assert kept_numbers(before, 5) == [0, 1]


def test_a_writer_of_before_stays_fenced_when_its_file_comes_back(path: Path, copy: Path) -> None:
    with opened(path) as first:
        put(first, 0)
        backup(path, copy)
    with opened(path) as second:
        restore(copy, path)
        with opened(path) as third:
            put(third, 1)
            with pytest.raises(StoreFencedError):
                put(second, 2)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT epoch FROM writer").fetchone()[0] > 3


def test_requests_that_were_done_before_the_restore_are_not_done_again(path: Path, copy: Path) -> None:
    request = RequestId(b"client", 1, 1)
    with opened(path) as store:
        backup(path, copy)
        with store.database.transaction() as connection:
            RequestLog().once(connection, request, lambda: "first")
    restore(copy, path)
    with opened(path) as store, store.database.transaction() as connection:
        assert RequestLog().once(connection, request, lambda: "second") == "first"


def test_a_backup_can_be_restored_where_no_store_is(path: Path, copy: Path) -> None:
    with opened(path) as store:
        put(store, 0)
        backup(path, copy)
    new = path.with_name("new.sqlite3")
    assert restore(copy, new) is None
    with opened(new) as store:
        assert kept_numbers(store, 2) == [0]


def test_a_damaged_store_is_replaced(path: Path, copy: Path) -> None:
    with opened(path) as store:
        put(store, 0)
        backup(path, copy)
    path.write_bytes(b"no database" * PAGE)
    aside = restore(copy, path)
    assert aside is not None
    assert aside.read_bytes().startswith(b"no database")
    with opened(path) as store:
        assert kept_numbers(store, 2) == [0]
        assert "salvaged" not in store.stats()


def test_counters_of_misses_are_backed_up_as_well(path: Path, copy: Path) -> None:
    for times in (1, 2):
        store = MissStore(path, Synchronous.NORMAL, 10)
        with closing(store.database), store.database.transaction() as connection:
            store.record(connection, {"a": times})
        if times == 1:
            assert backup(path, copy) == 1
    restore(copy, path)
    store = MissStore(path, Synchronous.NORMAL, 10)
    with closing(store.database):
        assert store.top(5) == [HotItem("a", 1, 0)]


def test_a_backup_of_version_1_is_migrated(path: Path, copy: Path) -> None:
    copy.parent.mkdir()
    make(copy, (*ITEMS_OF_VERSION_1, "INSERT INTO items VALUES ('', 'first 0', x'00', NULL, NULL)"))
    before = copy.read_bytes()
    restore(copy, path)
    assert copy.read_bytes() == before
    with opened(path) as store:
        assert store.get_many("", ["first 0"]) == {"first 0": b"\0"}


# What is refused


def broken_page(copy: Path) -> None:
    overwrite(copy, copy.stat().st_size - PAGE, b"\xff" * PAGE)


def changed_value(copy: Path) -> None:
    overwrite(copy, copy.read_bytes().rindex(b"value"), b"VALUE")


def no_database(copy: Path) -> None:
    copy.write_bytes(b"no database" * PAGE)


def cut_off(copy: Path) -> None:
    os.truncate(copy, copy.stat().st_size // 2)


@pytest.mark.parametrize("make_fault", [broken_page, changed_value, no_database, cut_off])
def test_a_damaged_backup_is_refused_and_the_store_goes_on(path: Path, copy: Path, make_fault: object) -> None:
    assert callable(make_fault)
    with opened(path) as store:
        for number in range(100):
            put(store, number)
        backup(path, copy)
        make_fault(copy)
        with pytest.raises(StoreDamagedError, match=f"{copy}"):
            restore(copy, path)
        put(store, 100)
        assert kept_numbers(store, 101) == list(range(101))
    assert files_in(path.parent) == ["backups", path.name]


def test_a_newer_backup_is_refused(path: Path, copy: Path) -> None:
    with opened(path):
        backup(path, copy)
    with closing(sqlite3.connect(copy)) as connection:
        connection.execute(f"PRAGMA user_version = {ITEM_SCHEMA.version + 1}")
    message = f"{copy} has schema version {ITEM_SCHEMA.version + 1}, this SeedCore knows up to {ITEM_SCHEMA.version}"
    with pytest.raises(StoreUnavailableError, match=message):
        restore(copy, path)


def test_a_damaged_store_makes_no_backup_and_the_last_one_stays(path: Path, copy: Path) -> None:
    with opened(path) as store:
        put(store, 0)
        backup(path, copy)
        good = copy.read_bytes()
        with closing(sqlite3.connect(path)) as disk, disk:
            disk.execute("UPDATE items SET value = x'00' WHERE item_id = 'first 0'")
        with pytest.raises(StoreDamagedError, match=f"{path} is damaged: 1 of 2 rows.*delete"):
            backup(path, copy)
    assert copy.read_bytes() == good
    assert files_in(copy.parent) == [copy.name]


def test_what_is_not_there_is_neither_backed_up_nor_restored(path: Path, copy: Path) -> None:
    with pytest.raises(StoreUnavailableError, match=str(path)):
        backup(path, copy)
    with pytest.raises(StoreUnavailableError, match=str(copy)):
        restore(copy, path)
    assert not path.exists()


# Kills


def test_a_kill_in_the_middle_of_a_restore_leaves_one_of_the_two_stores_whole(path: Path, copy: Path) -> None:
    other = path.with_name("other.sqlite3")
    many = range(300)
    with opened(other) as store:
        for number in many:
            put(store, number, b"backup")
        backup(other, copy)
    with opened(path) as store:
        for number in many:
            put(store, number, b"old")
    dice = random.Random(1)
    seen: set[bytes] = set()
    for _ in range(30):
        child = os.fork()
        if child == 0:
            try:
                restore(copy, path)
            finally:
                os._exit(0)
        time.sleep(dice.random() * 0.06)  # the moment of the kill, not a wait for anything
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        with opened(path) as store:
            assert kept_numbers(store, len(many)) == list(many)
            values = {store.get_many("", [f"first {number}"])[f"first {number}"] for number in many}
            assert len(values) == 1
            seen |= values
            assert "salvaged" not in store.stats()
            for number in many:
                put(store, number, b"old")
    assert seen == {b"old", b"backup"}
