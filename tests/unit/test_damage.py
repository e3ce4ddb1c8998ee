"""What a user reads after the disk changed the files of a store."""

import logging
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from seedcore.errors import ItemDamagedError, StoreDamagedError, StoreFencedError, StoreUnavailableError
from seedcore.settings import PROJECT_ROOT, Synchronous
from seedcore.store.engine import HotItem
from seedcore.store.files import store_files
from seedcore.store.files.connection import open_connection
from seedcore.store.files.store_files import companion
from seedcore.store.files.tables import ITEM_SCHEMA
from seedcore.store.recovery import backup, index_check, restore
from seedcore.store.recovery.index_check import IndexCheck, find_damage, is_checked_at_once
from seedcore.store.recovery.log import FRAME_HEADER_BYTES, read_log
from seedcore.store.requests import RequestId
from seedcore.store.sqlite.item_store import Bounds, ItemStore
from seedcore.store.sqlite.miss_store import MissStore
from seedcore.store.sqlite.request_log import RequestLog
from tests.unit.damaged_actor import ITEMS as ITEMS_OF_THE_ACTOR
from tests.unit.test_schema import ITEMS_OF_VERSION_1, make

PAGE = 4096
DEADLINE_S = 60
SIZES = (0, 10, 100, 1000, 10_000)
ITEMS = {f"item {number}": random.Random(number).randbytes(SIZES[number % len(SIZES)]) for number in range(200)}
IN_LOG = list(ITEMS)[:60]
CURRENT = b"current"


@contextmanager
def opened(path: Path, bounds: Bounds | None = None) -> Iterator[ItemStore]:
    store = ItemStore(path, Synchronous.NORMAL, bounds)
    try:
        yield store
    finally:
        store.database.close()


def put(store: ItemStore, items: dict[str, bytes]) -> None:
    with store.database.transaction() as connection:
        store.set_many(connection, "organ", items, None)


def delete(store: ItemStore, item_id: str) -> list[str]:
    with store.database.transaction() as connection:
        return store.delete_many(connection, "organ", [item_id])


def aside(path: Path) -> list[Path]:
    return sorted(path.parent.glob(f"{path.name}.damaged-*Z"))


def overwrite(path: Path, start: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(start)
        file.write(data)


def copy(path: Path, target: Path) -> None:
    """As a killed process leaves it, with the log."""
    for suffix in ("", "-wal"):
        if companion(path, suffix).exists():
            shutil.copy(companion(path, suffix), companion(target, suffix))


@pytest.fixture
def quiet() -> Iterator[None]:
    logging.disable()
    yield
    logging.disable(logging.NOTSET)


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A closed store with all items; most of its file is in use."""
    path = tmp_path_factory.mktemp("good") / "items.sqlite3"
    with opened(path, Bounds(10**6, 10**9)) as store:
        put(store, dict.fromkeys(ITEMS, b"an earlier value"))
        put(store, ITEMS)
        with store.database.transaction() as connection:
            RequestLog().once(connection, RequestId(b"client", 1, 1), lambda: ["done"])
    return path


@pytest.fixture(scope="module")
def good_log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store whose process was killed: its newer transactions are in the log only."""
    folder = tmp_path_factory.mktemp("log")
    path = folder / "items.sqlite3"
    with opened(path) as store:
        put(store, dict.fromkeys(ITEMS, b"earlier"))
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        for item_id in IN_LOG:
            put(store, {item_id: ITEMS[item_id]})
        copy(path, folder / "killed.sqlite3")
    return folder / "killed.sqlite3"


def read_all(store: ItemStore, allowed: Callable[[str, bytes], bool]) -> tuple[int, int]:
    """How many items are there, and how many are refused; the test fails on a wrong one."""
    found = refused = 0
    for item_id in ITEMS:
        try:
            values = store.get_many("organ", [item_id])
        except ItemDamagedError as error:
            assert item_id in str(error)  # noqa: PT017
            refused += 1
            continue
        for value in values.values():
            assert allowed(item_id, value), f"a wrong value of {item_id}: {value[:40]!r}"
            found += 1
    return found, refused


def damage(data: bytearray, dice: random.Random) -> None:
    """Change something, as disks do: bits, bytes, sectors, the end."""
    kind = dice.choice(["bit", "bytes", "sector", "zeros", "page", "moved"])
    at = dice.randrange(len(data))
    if kind == "bit":
        data[at] ^= 1 << dice.randrange(8)
    elif kind == "bytes":
        length = dice.randrange(1, 64)
        data[at : at + length] = dice.randbytes(len(data[at : at + length]))
    else:
        size = 512 if kind in ("sector", "zeros") else PAGE
        at -= at % size
        other = dice.randrange(len(data) // PAGE) * PAGE
        new = {"sector": dice.randbytes(size), "zeros": bytes(size), "page": dice.randbytes(size)}
        data[at : at + size] = new.get(kind, data[other : other + size])[: len(data[at : at + size])]


@pytest.mark.usefixtures("quiet")
def test_random_damage_of_the_file_never_gives_a_wrong_value(good: Path, tmp_path: Path) -> None:
    outcomes = set()
    for number in range(8):
        dice = random.Random(number)
        path = tmp_path / f"{number}.sqlite3"
        data = bytearray(good.read_bytes())
        for _ in range(dice.choice([1, 1, 3])):
            damage(data, dice)
        path.write_bytes(data)
        try:
            with opened(path) as store:
                found, refused = read_all(store, lambda item_id, value: value == ITEMS[item_id])
                stats = store.stats()
                assert found + refused == len(ITEMS) or aside(path), f"items vanished without a word: seed {dice}"
                if aside(path):
                    assert stats["items"] == stats["salvaged"] == found
                    assert stats.get("lost", 0) <= len(ITEMS) - found
                put(store, ITEMS)
                assert read_all(store, lambda item_id, value: value == ITEMS[item_id]) == (len(ITEMS), 0)
            outcomes.add("salvaged" if aside(path) else "good")
        except StoreUnavailableError as error:
            assert "schema version" in str(error)  # noqa: PT017
    assert outcomes == {"salvaged", "good"}


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize("seed", range(2))
def test_random_damage_of_the_log_never_gives_what_was_not_written(good_log: Path, tmp_path: Path, seed: int) -> None:
    for number in range(8):
        dice = random.Random(1000 * seed + number)
        path = tmp_path / f"{number}.sqlite3"
        copy(good_log, path)
        wal = companion(path, "-wal")
        data = bytearray(wal.read_bytes())
        damage(data, dice)
        wal.write_bytes(data)
        with opened(path) as store:
            found, refused = read_all(store, lambda item_id, value: value in (ITEMS[item_id], b"earlier"))
            assert (found, refused) == (len(ITEMS), 0)
            lost = [item for item in IN_LOG if store.get_many("organ", [item])[item] != ITEMS[item]]
        # A damaged last frame is what a killed process leaves of a transaction that was never acknowledged.
        last_frame = slice(-FRAME_HEADER_BYTES - PAGE, None)
        is_in_last_frame = data[last_frame] != companion(good_log, "-wal").read_bytes()[last_frame]
        assert aside(path) or lost == [] or (is_in_last_frame and lost == IN_LOG[-1:]), "transactions vanished"


@pytest.mark.parametrize("at", [0, 20, 28, 32 + 4, 32 + 8, 32 + 16, 32 + 24 + 100, 32 + 5 * (24 + PAGE) + 500])
def test_a_damaged_log_is_noticed_and_what_the_file_has_is_kept(
    good_log: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, at: int
) -> None:
    path = tmp_path / "items.sqlite3"
    copy(good_log, path)
    overwrite(companion(path, "-wal"), at, b"\x55\xaa\x55\xaa")
    log = companion(path, "-wal").read_bytes()
    with opened(path) as store:
        assert len(store.get_many("organ", ITEMS)) == len(ITEMS)
        assert store.stats()["salvaged"] == len(ITEMS)
        assert "lost" not in store.stats()
    (old,) = aside(path)
    assert companion(old, "-wal").read_bytes() == log
    assert "an unknown number is lost" in caplog.text
    assert "make restore" in caplog.text
    assert str(old) in caplog.text


def test_a_good_log_is_read_as_sqlite_reads_it(good_log: Path) -> None:
    content = read_log(companion(good_log, "-wal"))
    assert content.damage is None
    assert content.page_size == PAGE
    assert len(content.pages) > 10


# Killed processes


def write_until_killed(path: Path, item_bytes: int, ready: int) -> None:
    dice = random.Random(os.getpid())
    store = ItemStore(path, Synchronous.NORMAL)
    os.write(ready, b"x")
    while True:
        many = range(dice.randrange(1, 5))
        put(store, {f"item {dice.randrange(20)}": dice.randbytes(dice.randrange(item_bytes)) for _ in many})


@pytest.mark.parametrize(("item_bytes", "times"), [(5_000, 20), (12_000_000, 3)])
def test_a_killed_process_is_not_taken_for_damage(tmp_path: Path, item_bytes: int, times: int) -> None:
    path = tmp_path / "items.sqlite3"
    dice = random.Random(item_bytes)
    for _ in range(times):
        readable, ready = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                write_until_killed(path, item_bytes, ready)
            finally:
                os._exit(1)
        assert os.read(readable, 1) == b"x"
        time.sleep(dice.random() * 0.05)  # the moment of the kill, not a wait for anything
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(readable)
        os.close(ready)
    with opened(path) as store:
        assert "salvaged" not in store.stats()
    assert aside(path) == []


# Single items


def test_a_damaged_item_is_refused_until_it_is_set_or_deleted(tmp_path: Path) -> None:
    path = tmp_path / "items.sqlite3"
    with opened(path) as store:
        put(store, {"set": CURRENT, "deleted": CURRENT, "good": CURRENT})
        with closing(sqlite3.connect(path)) as disk, disk:
            disk.execute("UPDATE items SET value = x'736563726574' WHERE item_id != 'good'")
        for item_id in ("set", "deleted"):
            with pytest.raises(ItemDamagedError, match=f"'{item_id}' in {path}.*Set it.*make restore") as refused:
                store.get_many("organ", ["good", item_id])
            assert "secret" not in str(refused.value)
        put(store, {"set": b"anew"})
        assert delete(store, "deleted") == ["deleted"]
        assert store.get_many("organ", ["set", "deleted", "good"]) == {"set": b"anew", "good": CURRENT}


@pytest.mark.parametrize("expires_at", [1.0, 1e12])
def test_a_damaged_time_to_live_neither_hides_nor_keeps_the_item(tmp_path: Path, expires_at: float) -> None:
    path = tmp_path / "items.sqlite3"
    with opened(path) as store:
        put(store, {"item": CURRENT})
        with closing(sqlite3.connect(path)) as disk, disk:
            disk.execute("UPDATE items SET expires_at = ?", (expires_at,))
        put(store, {"another": CURRENT})  # deletes what has expired
        with pytest.raises(ItemDamagedError):
            store.get_many("organ", ["item"])


def test_a_damaged_miss_counter_is_dropped_and_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "misses.sqlite3"
    store = MissStore(path, Synchronous.NORMAL, 10)
    with closing(store.database):
        with store.database.transaction() as connection:
            store.record(connection, {"a": 5, "b": 3, "c": 1})
        with closing(sqlite3.connect(path)) as disk, disk:
            disk.execute("UPDATE misses SET misses = 1000 WHERE item_id = 'b'")
        assert store.top(2) == [HotItem("a", 5, 0), HotItem("c", 1, 0)]
        assert "miss counter of 'b'" in caplog.text
        with store.database.transaction() as connection:
            store.record(connection, {"b": 1})
        assert HotItem("b", 1, 0) in store.top(3)
        assert store.stats()["items"] == 3


# Whole files


def no_database(path: Path) -> None:
    path.write_bytes(b"no database " * PAGE)


def random_bytes(path: Path) -> None:
    path.write_bytes(random.Random(1).randbytes(path.stat().st_size))


def cut_off(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2 // PAGE * PAGE)


def cut_off_in_a_page(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2 // PAGE * PAGE + 100)


def no_header(path: Path) -> None:
    overwrite(path, 0, b"damaged" * 8)


def emptied(path: Path) -> None:
    os.truncate(path, 0)


@pytest.mark.parametrize(
    ("make_fault", "salvages"),
    [
        (no_database, False),
        (random_bytes, False),
        (no_header, True),
        (cut_off, True),
        (cut_off_in_a_page, True),
        (emptied, False),
    ],
)
def test_a_damaged_file_is_set_aside_as_it_is_and_a_new_one_has_what_is_left(
    good: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    make_fault: Callable[[Path], None],
    salvages: bool,
) -> None:
    path = tmp_path / "items.sqlite3"
    copy(good, path)
    with opened(path):
        pass
    make_fault(path)
    damaged = path.read_bytes()
    with opened(path) as store:
        found, _ = read_all(store, lambda item_id, value: value == ITEMS[item_id])
        assert (found > 0) == salvages
        assert store.stats()["salvaged"] == found
        put(store, ITEMS)
    (old,) = aside(path)
    assert old.read_bytes() == damaged
    assert [record.levelno for record in caplog.records if record.levelno > logging.INFO] == [logging.CRITICAL]
    for words in (str(path), str(old), f"{found} rows", "make restore"):
        assert words in caplog.text
    with opened(path) as store:  # which needs no second salvage
        assert len(store.get_many("organ", ITEMS)) == len(ITEMS)
        assert store.stats()["salvaged"] == found
    assert aside(path) == [old]


@pytest.mark.parametrize("is_missing", [False, True])
def test_of_an_empty_file_the_log_gives_back_what_was_in_it(tmp_path: Path, is_missing: bool) -> None:
    path, killed = tmp_path / "items.sqlite3", tmp_path / "killed.sqlite3"
    with opened(path) as store:
        put(store, dict(list(ITEMS.items())[:40]))
        copy(path, killed)
    killed.write_bytes(b"")
    if is_missing:
        killed.unlink()
    with opened(killed) as store:
        assert store.get_many("organ", ITEMS) == dict(list(ITEMS.items())[:40])
        assert store.stats()["salvaged"] == 40


def test_an_empty_file_that_never_had_content_is_a_new_store(tmp_path: Path) -> None:
    path = tmp_path / "items.sqlite3"
    path.touch()
    with opened(path) as store:
        put(store, {"item": CURRENT})
        assert store.stats() == {"items": 1, "bytes": 7, "evictions": 0, "expirations": 0}
    assert aside(path) == []


def test_a_damaged_file_of_version_1_keeps_what_can_be_read(tmp_path: Path) -> None:
    path = tmp_path / "items.sqlite3"
    make(path, ITEMS_OF_VERSION_1)
    with closing(sqlite3.connect(path)) as disk, disk:
        disk.executemany("INSERT INTO items VALUES ('organ', ?, ?, NULL, NULL)", ITEMS.items())
    overwrite(path, path.stat().st_size - 20 * PAGE, b"\xff" * 20 * PAGE)
    with opened(path) as store:
        found, _ = read_all(store, lambda item_id, value: value == ITEMS[item_id])
        assert 0 < found < len(ITEMS)
        assert store.stats()["lost"] == len(ITEMS) - found


def test_results_of_requests_outlive_a_salvage(good: Path, tmp_path: Path) -> None:
    path = tmp_path / "items.sqlite3"
    copy(good, path)
    with closing(sqlite3.connect(path)) as disk:
        (page,) = disk.execute("SELECT rootpage FROM sqlite_master WHERE name = 'items_by_use'").fetchone()
    overwrite(path, (page - 1) * PAGE, b"\xff" * PAGE)
    with opened(path, Bounds(10**6, 10**9)) as store:
        assert store.stats()["salvaged"] == len(ITEMS)
        assert store.stats()["lost"] == 0
        with store.database.transaction() as connection:
            result = RequestLog().once(connection, RequestId(b"client", 1, 1), lambda: ["again"])
        assert result == ["done"]


def test_a_changed_trigger_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "items.sqlite3"
    with opened(path) as store:
        put(store, {"item": CURRENT})
    at = path.read_bytes().index(b"items = items + 1")
    overwrite(path, at + 16, b"7")
    with opened(path) as store:
        put(store, {"another": CURRENT})
        assert store.stats()["items"] == 2
    assert len(aside(path)) == 1


# A large file, whose indexes are compared with its rows while it is in use

LARGE = {f"large {number:02}": bytes(1) + random.Random(number).randbytes(10**6) for number in range(40)}


@pytest.fixture
def large(tmp_path: Path) -> Path:
    path = tmp_path / "items.sqlite3"
    with opened(path) as store:
        put(store, LARGE)
    assert not is_checked_at_once(path)
    return path


def rename_in_index(path: Path, item_id: str) -> None:
    """So that the item's row is right, and is not found by its name."""
    right = "SELECT checksum(owner, item_id, value, expires_at) = checksum FROM items NOT INDEXED WHERE item_id = ?"
    data = path.read_bytes()
    at = -1
    while (at := data.find(item_id.encode(), at + 1)) >= 0:
        overwrite(path, at, item_id.upper().encode())
        with closing(open_connection(path, "ro")) as connection:
            if connection.execute(right, (item_id,)).fetchone() == (1,) and find_damage(connection, is_whole=True):
                assert find_damage(connection, is_whole=False) is None
                return
        overwrite(path, at, item_id.encode())
    raise AssertionError("it is in no index")


def wait_for_index_check(store: ItemStore) -> None:
    assert store.database.index_check is not None
    store.database.index_check.wait()


def test_a_damaged_index_of_a_large_file_ends_its_writer_and_the_next_one_salvages(large: Path) -> None:
    rename_in_index(large, "large 07")
    with opened(large) as store:
        wait_for_index_check(store)
        assert store.get_many("organ", ["large 08"]) == {"large 08": LARGE["large 08"]}
        with pytest.raises(StoreDamagedError, match=f"{large} is damaged: .*index"):
            put(store, {"new": CURRENT})
    with opened(large) as store:
        assert store.get_many("organ", [*LARGE, "new"]) == LARGE
        assert store.stats()["salvaged"] == len(LARGE)
        assert store.stats()["lost"] == 0
    (old,) = aside(large)
    with opened(large) as store:  # which needs no second salvage
        wait_for_index_check(store)
        put(store, {"new": CURRENT})
    assert aside(large) == [old]


def test_what_was_found_in_a_file_is_not_said_of_the_one_that_took_its_place(large: Path, tmp_path: Path) -> None:
    backup(large, tmp_path / "backup")
    rename_in_index(large, "large 07")
    with opened(large) as store:
        wait_for_index_check(store)
    restore(tmp_path / "backup", large)
    with opened(large) as store:
        assert store.get_many("organ", list(LARGE)) == LARGE
        assert "salvaged" not in store.stats()


def test_the_check_of_a_large_file_lets_a_long_log_be_cut(large: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index_check, "MAX_LOG_BYTES", 2**20)
    monkeypatch.setattr(index_check, "LOOK_AGAIN_S", 0.01)
    monkeypatch.setattr(index_check, "STEPS_BETWEEN_LOOKS", 10)
    rename_in_index(large, "large 07")
    with closing(open_connection(large)) as writer:
        writer.execute("PRAGMA wal_autocheckpoint = 0")
        writer.execute("UPDATE items SET used = 1")
        writer.execute("CREATE TABLE long_log AS SELECT randomblob(2000000)")
        check = IndexCheck(large)
        assert check._thread is not None
        check._thread.join(0.5)
        assert check._thread.is_alive()  # it holds no snapshot, and waits
        assert writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0
        check.wait()
    assert check.damage is not None
    assert "index" in check.damage


@pytest.mark.parametrize("waits", [False, True])
def test_a_large_file_that_is_right_is_left_alone_however_early_it_is_closed(large: Path, waits: bool) -> None:
    with opened(large) as store:
        if waits:
            wait_for_index_check(store)
        put(store, {"new": CURRENT})
    with opened(large) as store:
        assert store.get_many("organ", [*LARGE, "new"]) == {**LARGE, "new": CURRENT}
    assert aside(large) == []
    assert not companion(large, store_files.DAMAGE).exists()


# Writers of before


def test_an_old_writer_cannot_commit_into_the_file_that_was_set_aside(tmp_path: Path) -> None:
    path = tmp_path / "items.sqlite3"
    with opened(path) as old_writer:
        put(old_writer, ITEMS)
        with closing(sqlite3.connect(path)) as disk:
            disk.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        overwrite(path, path.stat().st_size - 5 * PAGE, b"\xff" * 5 * PAGE)
        with opened(path) as store:
            (old,) = aside(path)
            before = [companion(old, suffix).read_bytes() for suffix in ("", "-wal")]
            with pytest.raises(StoreFencedError, match=str(path)):
                put(old_writer, {"late": CURRENT})
            assert [companion(old, suffix).read_bytes() for suffix in ("", "-wal")] == before
            put(store, {"new": CURRENT})
            old_writer.database.close()  # SQLite must not take the new store's log for its own
            put(store, {"newer": CURRENT})
            assert companion(path, "-wal").stat().st_size > 0
    with opened(path) as store:
        assert store.get_many("organ", ["late", "new", "newer"]) == {"new": CURRENT, "newer": CURRENT}
        assert len(aside(path)) == 1


def test_an_actor_that_meets_damage_ends_and_its_successor_salvages(tmp_path: Path) -> None:
    path = tmp_path / "mw.sqlite3"
    done = subprocess.run(
        [sys.executable, "-m", "tests.unit.damaged_actor", str(path)],
        cwd=PROJECT_ROOT,
        env={**os.environ, "STATE_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert done.returncode == 1
    assert done.stdout.split() == ["damaged"]
    assert f"CRITICAL seedcore.actors.store_keeper: cannot read {path}" in done.stderr
    with opened(path) as store:
        kept = store.get_many("agent", ITEMS_OF_THE_ACTOR)
        assert 100 < len(kept) < len(ITEMS_OF_THE_ACTOR)
        assert kept.items() <= ITEMS_OF_THE_ACTOR.items()


@pytest.mark.parametrize("renamed", range(4))
def test_a_replacement_that_was_killed_is_finished_by_the_next_opening(tmp_path: Path, renamed: int) -> None:
    path, new = tmp_path / "items.sqlite3", tmp_path / "new.sqlite3"
    with opened(path) as store:
        put(store, {"old": CURRENT})
        copy(path, tmp_path / "killed.sqlite3")
    copy(tmp_path / "killed.sqlite3", path)
    companion(path, "-shm").touch()
    with opened(new) as store:
        put(store, {"new": CURRENT})
    new.rename(companion(path, ".next.damaged-now"))
    for suffix in ("", "-wal", "-shm")[:renamed]:
        companion(path, suffix).rename(companion(path, f".damaged-now{suffix}"))
    with opened(path) as store:
        assert store.get_many("organ", ["old", "new"]) == {"new": CURRENT}
    assert not list(tmp_path.glob("*.next.*"))
    with opened(companion(path, ".damaged-now")) as store:
        assert store.get_many("organ", ["old", "new"]) == {"old": CURRENT}


def test_who_opens_while_another_holds_the_lock_waits_for_it(tmp_path: Path) -> None:
    path = tmp_path / "items.sqlite3"
    command = "import sys; from tests.unit.kept_notes import *; ItemStore(Path(sys.argv[1]), Synchronous.NORMAL)"
    with store_files.locked(path):
        process = subprocess.Popen([sys.executable, "-c", command, str(path)], cwd=PROJECT_ROOT)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(1)
        assert not path.exists()
    assert process.wait(DEADLINE_S) == 0
    assert ITEM_SCHEMA.version > 1
