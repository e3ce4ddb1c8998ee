"""Large arrays in files: what readers get, when the files go, and what happens when the disk changes them."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seedcore.actors.calls import pack_new, packed_bytes, unpack_found
from seedcore.actors.mw_store import MwStore
from seedcore.errors import InvalidValueError, ItemDamagedError, StoreDamagedError, StoreUnavailableError
from seedcore.settings import PROJECT_ROOT, Synchronous
from seedcore.store.files import array_files, store_files
from seedcore.store.recovery import backups
from seedcore.store.sqlite.item_store import Bounds, ItemStore
from seedcore.store.sqlite.store_reader import StoreReader
from seedcore.store.values.codec import aside_encoder, decode
from tests.unit.conftest import SetKnobs
from tests.unit.performing import do
from tests.unit.test_crashes import files_at_most
from tests.unit.test_damage import overwrite
from tests.waiting import wait_until

ORGAN = "organ"
SMALL, LARGE = 1000, 100_000  # numbers in an array, of 8 bytes

# Replaces an array until it is killed; every number in it is that of its turn.
REPLACER = """
import sys
from pathlib import Path
from tests.unit.test_array_files import numbers, set_arrays
from seedcore.store.sqlite.item_store import ItemStore
from seedcore.settings import Synchronous
store = ItemStore(Path(sys.argv[1]), Synchronous.NORMAL)
for turn in range(10**9):
    set_arrays(store, {"item": numbers(turn)})
    if turn == 0:
        print("ready", flush=True)
"""


def numbers(number: int, length: int = LARGE) -> Any:
    return np.full(length, number, np.int64)


def reference(store: ItemStore, value: Any) -> bytes:
    """As a client makes it, which writes the file itself."""
    data, arrays = aside_encoder(array_files.MIN_BYTES)(value)
    assert arrays, "a value without large arrays needs no file"
    return array_files.reference(array_files.write(store.database.path, arrays, Synchronous.NORMAL), data)


def set_arrays(store: ItemStore, values: dict[str, Any], ttl_s: float | None = None) -> None:
    items = {item_id: reference(store, value) for item_id, value in values.items()}
    with store.database.transaction() as connection:
        store.set_many(connection, ORGAN, items, ttl_s)


def fail_to_set(store: ItemStore, value: bytes) -> None:
    with store.database.transaction() as connection:
        store.set_many(connection, ORGAN, {"item": value}, None)
        raise ZeroDivisionError


def delete(store: ItemStore, *item_ids: str) -> None:
    with store.database.transaction() as connection:
        store.delete_many(connection, ORGAN, item_ids)


def files(store: ItemStore | Path) -> list[Path]:
    path = store if isinstance(store, Path) else store.database.path
    return sorted(store_files.companion(path, store_files.ARRAYS).glob("*"))


def wait_for_files(store: ItemStore, number: int) -> None:
    wait_until(lambda: len(files(store)) == number)


def age(paths: Sequence[Path]) -> None:
    long_ago = time.time() - array_files.UNREFERENCED_S - 1
    for path in paths:
        os.utime(path, (long_ago, long_ago))


@pytest.fixture(autouse=True)
def unchecked() -> None:
    """As a process that has read no file yet."""
    array_files._checked.clear()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "items.sqlite3"


@pytest.fixture
def store(path: Path) -> Iterator[ItemStore]:
    store = ItemStore(path, Synchronous.NORMAL)
    yield store
    store.database.close()


@pytest.fixture
def reader(store: ItemStore) -> StoreReader:
    assert store.database.identity is not None
    return StoreReader(store.database.path, store.database.identity)


def got(reader: StoreReader, item_id: str = "item") -> Any:
    found = reader.get_many(ORGAN, [item_id])
    assert found is not None
    return decode(found[item_id])


@pytest.mark.parametrize(
    "array",
    [
        np.arange(LARGE),
        np.arange(2 * LARGE)[::2],
        np.arange(LARGE).reshape(100, -1),
        np.asfortranarray(np.arange(LARGE, dtype=">f8").reshape(100, -1)),
        np.arange(LARGE).reshape(100, -1).T[1:],
        np.arange(LARGE).astype("M8[s]"),
        np.array(["\u00e4" * 20] * SMALL * 10),
        np.zeros(LARGE, [("a", "i4"), ("b", "S3", (2,))]),
        np.zeros((0, 3)),
    ],
    ids=str,
)
def test_a_value_with_arrays_comes_back_equal(store: ItemStore, reader: StoreReader, array: Any) -> None:
    value = {"array": array, "again": [array, numbers(7, SMALL)], "large": numbers(1), "text": "kept"}
    set_arrays(store, {"item": value})
    found = got(reader)
    assert found["text"] == "kept"
    assert np.array_equal(found["large"], value["large"])
    assert np.array_equal(found["again"][1], numbers(7, SMALL))
    for one in (found["array"], found["again"][0]):
        assert one.dtype == array.dtype
        assert one.shape == array.shape
        assert np.array_equal(one, array)


def test_who_changes_an_array_changes_it_for_nobody_else(store: ItemStore, reader: StoreReader) -> None:
    set_arrays(store, {"item": numbers(1)})
    mine, theirs = got(reader), got(reader)
    mine[:] = 2
    assert np.array_equal(mine, numbers(2))
    assert np.array_equal(theirs, numbers(1))
    assert np.array_equal(got(reader), numbers(1))


def test_an_array_is_kept_by_who_has_it_after_its_item_went(store: ItemStore, reader: StoreReader) -> None:
    set_arrays(store, {"item": numbers(1)})
    mine = got(reader)
    delete(store, "item")
    wait_for_files(store, 0)
    assert np.array_equal(mine, numbers(1))
    assert reader.get_many(ORGAN, ["item"]) == {}


def test_the_file_goes_with_the_item(store: ItemStore) -> None:
    set_arrays(store, {"replaced": numbers(1), "deleted": numbers(2), "kept": numbers(3)})
    set_arrays(store, {"brief": numbers(4)}, ttl_s=0.05)
    assert len(files(store)) == 4
    set_arrays(store, {"replaced": numbers(5)})
    delete(store, "deleted")
    wait_until(lambda: not store.get_many(ORGAN, ["brief"]))
    with store.database.transaction() as connection:
        store.delete_expired(connection)
    wait_for_files(store, 2)
    with store.database.transaction() as connection:
        store.set_many(connection, ORGAN, {"replaced": b"no array"}, None)
    wait_for_files(store, 1)


def test_a_write_that_fails_removes_nothing(store: ItemStore, reader: StoreReader) -> None:
    set_arrays(store, {"item": numbers(1)})
    new = reference(store, numbers(2))
    with pytest.raises(ZeroDivisionError):
        fail_to_set(store, new)
    assert np.array_equal(got(reader), numbers(1))
    set_arrays(store, {"other": numbers(3)})
    delete(store, "other")
    wait_for_files(store, 2)  # of the item, and of the write that failed
    assert np.array_equal(got(reader), numbers(1))


def test_arrays_count_in_the_bounds_of_a_cache(path: Path) -> None:
    store = ItemStore(path, Synchronous.NORMAL, Bounds(100, 2_000_000))
    for number in range(5):
        set_arrays(store, {f"item {number}": numbers(number)})
    assert list(store.get_many(ORGAN, [f"item {number}" for number in range(5)])) == ["item 3", "item 4"]
    assert 2 * 800_000 < store.stats()["bytes"] < 2 * 800_000 + 1000
    wait_for_files(store, 2)
    delete(store, "item 3", "item 4")
    assert store.stats()["bytes"] == 0
    store.database.close()


def test_readers_never_miss_an_array_that_is_replaced_all_the_time(path: Path) -> None:
    command = [sys.executable, "-c", REPLACER, str(path)]
    with subprocess.Popen(command, cwd=PROJECT_ROOT, stdout=subprocess.PIPE, text=True) as replacer:
        try:
            assert replacer.stdout
            assert replacer.stdout.readline() == "ready\n"
            identity = store_files.identity(path)
            assert identity
            reader = StoreReader(path, identity)
            latest = 0
            while latest < 300:
                found = got(reader)
                assert found.min() == found.max() >= latest, "an older array, or parts of two"
                latest = int(found[0])
        finally:
            replacer.kill()
    store = ItemStore(path, Synchronous.NORMAL)
    age(files(store))
    store.database.close()
    wait_for_files(ItemStore(path, Synchronous.NORMAL), 1)  # what the killed one could not remove any more


@pytest.mark.parametrize("is_missing", [False, True])
def test_a_damaged_array_is_refused_until_it_is_set_anew(
    store: ItemStore, reader: StoreReader, path: Path, is_missing: bool
) -> None:
    set_arrays(store, {"item": numbers(1), "good": numbers(2)})
    (found,) = [file for file in files(store) if file.read_bytes()[0] == 1]
    if is_missing:
        found.unlink()
    else:
        overwrite(found, 500_000, b"\xff")
    with pytest.raises(StoreUnavailableError):  # after which its actor is asked
        reader.get_many(ORGAN, ["item"])
    with pytest.raises(ItemDamagedError, match=r"item 'item' .*make restore"):
        array_files.load(path, lambda: store.get_many(ORGAN, ["good", "item"]))
    with pytest.raises(StoreDamagedError, match="1 of 2 rows"):
        backups.backup(path, path.with_name("copy"))
    set_arrays(store, {"item": numbers(3)})
    assert np.array_equal(got(reader), numbers(3))
    assert np.array_equal(got(reader, "good"), numbers(2))


def test_files_that_nothing_refers_to_are_removed_when_they_are_old(path: Path) -> None:
    store = ItemStore(path, Synchronous.NORMAL)
    set_arrays(store, {"item": numbers(1)})
    reference(store, numbers(2))  # whose writer died before it sent it
    age(files(store))
    young = parse_name(reference(store, numbers(3)))
    store.database.close()
    again = ItemStore(path, Synchronous.NORMAL)
    wait_for_files(again, 2)
    assert young in [file.name for file in files(again)]
    assert len(again.get_many(ORGAN, ["item"])) == 1
    again.database.close()


def parse_name(value: bytes) -> str:
    return array_files.parse(value).name


def test_what_the_disk_made_of_a_name_removes_nothing(path: Path) -> None:
    path.write_text("")
    array_files.remove(path, ["../items.sqlite3", "x", ""])
    assert path.exists()


def test_a_backup_has_the_arrays_of_its_moment(path: Path, tmp_path: Path) -> None:
    copy = tmp_path / "backups" / "copy.sqlite3"
    store = ItemStore(path, Synchronous.NORMAL)
    set_arrays(store, {"item": numbers(1), "other": numbers(2)})
    assert backups.backup(path, copy) == 2
    set_arrays(store, {"item": numbers(3), "later": numbers(4)})
    delete(store, "other")
    wait_for_files(store, 2)
    assert backups.inspect_backup(copy) == 2
    aside = backups.restore(copy, path)
    store.database.close()
    restored = ItemStore(path, Synchronous.NORMAL)
    found = array_files.load(path, lambda: restored.get_many(ORGAN, ["item", "other", "later"]))
    assert {item_id: int(decode(value)[0]) for item_id, value in found.items()} == {"item": 1, "other": 2}
    restored.database.close()
    # The store of before is whole as well.
    assert aside
    before = ItemStore(aside, Synchronous.NORMAL)
    found = array_files.load(aside, lambda: before.get_many(ORGAN, ["item", "later"]))
    assert {item_id: int(decode(value)[0]) for item_id, value in found.items()} == {"item": 3, "later": 4}
    before.database.close()


def test_a_backup_under_a_process_that_replaces_arrays_is_whole(path: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", REPLACER, str(path)]
    with subprocess.Popen(command, cwd=PROJECT_ROOT, stdout=subprocess.PIPE, text=True) as replacer:
        try:
            assert replacer.stdout
            assert replacer.stdout.readline() == "ready\n"
            for number in range(10):
                copy = tmp_path / f"copy-{number}.sqlite3"
                assert backups.backup(path, copy) == 1
                assert len(files(copy)) == 1
        finally:
            replacer.kill()


def test_arrays_outlive_a_salvage(path: Path) -> None:
    store = ItemStore(path, Synchronous.NORMAL)
    set_arrays(store, {f"item {number}": numbers(number) for number in range(5)})
    store.database.close()
    with path.open("r+b") as file:
        file.write(bytes(100))  # its header
    salvaged = ItemStore(path, Synchronous.NORMAL)
    found = array_files.load(path, lambda: salvaged.get_many(ORGAN, [f"item {number}" for number in range(5)]))
    assert [int(decode(value)[0]) for value in found.values()] == [0, 1, 2, 3, 4]
    assert 5 * 800_000 < salvaged.stats()["bytes"] < 5 * 800_000 + 1000
    salvaged.database.close()


def test_an_actor_writes_the_file_for_who_cannot(knobs: SetKnobs, tmp_path: Path) -> None:
    knobs(STATE_DIR=str(tmp_path), LOG_LEVEL="ERROR")
    actor = MwStore("mw.sqlite3")
    packed = pack_new(*aside_encoder(array_files.MIN_BYTES)({"array": numbers(1)}))
    do(actor, "set_many", ORGAN, {"item": packed})
    assert len(files(tmp_path / "mw.sqlite3")) == 1
    found = do(actor, "get_many", ORGAN, ["item"])
    array = decode(unpack_found(found["item"]))["array"]
    assert np.array_equal(array, numbers(1))
    array[0] = 2  # a copy of its own


def test_an_actor_refuses_a_reference_to_a_file_that_is_not_there(knobs: SetKnobs, tmp_path: Path) -> None:
    knobs(STATE_DIR=str(tmp_path), LOG_LEVEL="ERROR")
    actor = MwStore("mw.sqlite3")
    file = array_files.ArrayFile("0" * 32, 10, "0" * 16)
    with pytest.raises(StoreUnavailableError, match="set the value once more"):
        do(actor, "set_many", ORGAN, {"item": array_files.reference(file, b"x")})
    with pytest.raises(InvalidValueError, match="is none"):
        do(actor, "set_many", ORGAN, {"item": array_files.MARK + b"../" * 30})
    assert do(actor, "get_many", ORGAN, ["item"]) == {}


@pytest.mark.parametrize("synchronous", Synchronous)
def test_a_file_that_cannot_be_written_leaves_nothing(store: ItemStore, synchronous: Synchronous) -> None:
    _, arrays = aside_encoder(array_files.MIN_BYTES)(numbers(1))
    with files_at_most(500_000), pytest.raises(OSError, match="too large"):
        array_files.write(store.database.path, arrays, synchronous)
    assert files(store) == []
    assert array_files.write(store.database.path, arrays, synchronous).size == 800_000


@pytest.mark.parametrize("lengths", [[0], [1], [0, 0], [1, 63, 64, 65, 0]])
def test_a_value_to_keep_is_measured_as_the_store_counts_it(path: Path, lengths: list[int]) -> None:
    value = [np.zeros(array_files.MIN_BYTES + length, np.uint8) for length in lengths]
    data, arrays = aside_encoder(array_files.MIN_BYTES)(value)
    assert len(arrays) == len(lengths)
    path.parent.mkdir(exist_ok=True)
    reference = array_files.reference(array_files.write(path, arrays, Synchronous.NORMAL), data)
    assert packed_bytes(pack_new(data, arrays)) == array_files.value_bytes(reference)
