import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from seedcore.errors import StoreUnavailableError
from seedcore.settings import Synchronous
from seedcore.store import recovery
from seedcore.store.sqlite.item_store import ITEMS_PER_QUERY, ItemStore
from seedcore.store.sqlite.store_reader import StoreReader, Unread, locate

ORGAN = "organ"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ItemStore]:
    """An open one, as its actor has it."""
    store = ItemStore(tmp_path / "store.sqlite3", Synchronous.NORMAL)
    yield store
    store.database.close()


@pytest.fixture
def reader(store: ItemStore) -> StoreReader:
    """Of the same file."""
    assert store.database.identity is not None
    return StoreReader(store.database.path, store.database.identity)


def write(store: ItemStore, items: dict[str, bytes], ttl_s: float | None = None) -> None:
    with store.database.transaction() as connection:
        store.set_many(connection, ORGAN, items, ttl_s)


def test_a_committed_write_is_seen_at_once(store: ItemStore, reader: StoreReader) -> None:
    for number in range(100):
        write(store, {"item": b"%d" % number})
        assert reader.get_many(ORGAN, ["item"]) == {"item": b"%d" % number}
    with store.database.transaction() as connection:
        store.delete_many(connection, ORGAN, ["item"])
        assert reader.get_many(ORGAN, ["item"]) == {"item": b"99"}
    assert reader.get_many(ORGAN, ["item"]) == {}


def test_many_items_come_in_the_order_of_the_question(store: ItemStore, reader: StoreReader) -> None:
    written = {f"item-{number}\x00ä": b"%d" % number for number in range(2 * ITEMS_PER_QUERY + 10)}
    write(store, written)
    asked = [*reversed(written), "missing"]
    found = reader.get_many(ORGAN, asked)
    assert found == written
    assert list(found) == asked[:-1]
    assert reader.get_many(ORGAN, []) == {}
    assert reader.get_many("another", asked) == {}


def test_expired_items_are_not_seen(store: ItemStore, reader: StoreReader) -> None:
    write(store, {"brief": b"1"}, ttl_s=1e-6)
    write(store, {"long": b"2"}, ttl_s=1000)
    assert reader.get_many(ORGAN, ["brief", "long"]) == {"long": b"2"}


def test_a_large_value_is_told_from_a_missing_one(store: ItemStore, reader: StoreReader) -> None:
    write(store, {"small": b"x" * 10, "large": b"x" * 11})
    assert reader.get_many(ORGAN, ["small", "missing"], max_bytes=10) == {"small": b"x" * 10}
    assert reader.get_many(ORGAN, ["large"], max_bytes=10) is None
    assert reader.get_many(ORGAN, ["small", "large"], max_bytes=10) is None
    assert reader.get_many(ORGAN, ["small", "large"]) == {"small": b"x" * 10, "large": b"x" * 11}


def test_a_look_at_one_item_has_three_answers(store: ItemStore, reader: StoreReader) -> None:
    write(store, {"small": b"x" * 10, "large": b"x" * 11})
    write(store, {"brief": b"1"}, ttl_s=1e-6)
    assert reader.get(ORGAN, "small", max_bytes=10) == b"x" * 10
    assert reader.get(ORGAN, "large") == b"x" * 11
    assert reader.get(ORGAN, "large", max_bytes=10) is Unread.ASK
    for missing in ("missing", "brief"):
        assert reader.get(ORGAN, missing) is None


def test_a_killed_writer_does_not_stop_reads(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite3"
    program = f"""
import os, signal
from pathlib import Path
from seedcore.store.sqlite.item_store import ItemStore
from seedcore.settings import Synchronous
store = ItemStore(Path({str(path)!r}), Synchronous.NORMAL)
with store.database.transaction() as connection:
    store.set_many(connection, {ORGAN!r}, {{"item": b"kept"}}, None)
os.kill(os.getpid(), signal.SIGKILL)
"""
    subprocess.run([sys.executable, "-c", program], check=False)
    stat = path.stat()
    reader = StoreReader(path, (stat.st_dev, stat.st_ino))
    assert reader.get_many(ORGAN, ["item"]) == {"item": b"kept"}


def test_another_file_in_the_place_is_not_read(store: ItemStore, reader: StoreReader, tmp_path: Path) -> None:
    write(store, {"item": b"before"})
    recovery.backup(store.database.path, tmp_path / "backup")
    write(store, {"item": b"after"})
    assert reader.get_many(ORGAN, ["item"]) == {"item": b"after"}
    recovery.restore(tmp_path / "backup", store.database.path)
    with pytest.raises(StoreUnavailableError, match="another file"):
        reader.get_many(ORGAN, ["item"])


def test_a_damaged_item_is_left_to_the_writer(store: ItemStore, reader: StoreReader) -> None:
    write(store, {"item": b"right", "other": b"as well"})
    with sqlite3.connect(store.database.path) as connection:
        connection.execute("UPDATE items SET value = x'00' WHERE item_id = 'item'")
    with pytest.raises(StoreUnavailableError, match="the disk changed it"):
        reader.get_many(ORGAN, ["item"])
    assert reader.get_many(ORGAN, ["other"]) == {"other": b"as well"}


def test_a_file_that_is_no_store_is_left_to_the_writer(store: ItemStore, reader: StoreReader) -> None:
    write(store, {"item": b"1"})
    os.truncate(store.database.path, 0)
    store.database.path.with_name(f"{store.database.path.name}-wal").unlink()
    with pytest.raises(StoreUnavailableError):
        reader.get_many(ORGAN, ["item"])


def test_only_the_same_file_on_the_same_machine_is_opened(store: ItemStore, tmp_path: Path) -> None:
    write(store, {"item": b"1"})
    here = locate(store.database, tmp_path)
    assert here is not None
    found = StoreReader.at(here, tmp_path)
    assert found is not None
    assert found.get_many(ORGAN, ["item"]) == {"item": b"1"}
    assert StoreReader.at(here, tmp_path / "elsewhere") is None
    assert StoreReader.at(here._replace(boot_id="another"), tmp_path) is None
    assert StoreReader.at(here._replace(inode=here.inode + 1), tmp_path) is None


def test_a_reader_never_writes(store: ItemStore, reader: StoreReader) -> None:
    write(store, {"item": b"1"})
    reader.get_many(ORGAN, ["item"])
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        reader._connection().execute("DELETE FROM items")
