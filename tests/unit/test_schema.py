"""Files of older versions, and migrations that do not reach their end."""

import sqlite3
import subprocess
import sys
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

import pytest

from seedcore.errors import StoreUnavailableError
from seedcore.settings import PROJECT_ROOT, Synchronous
from seedcore.store.engine import HotItem
from seedcore.store.files import tables
from seedcore.store.files.schema import Schema, version_of
from seedcore.store.files.tables import store_schema
from seedcore.store.sqlite.database import Database
from seedcore.store.sqlite.item_store import ItemStore
from seedcore.store.sqlite.miss_store import MissStore

# As SeedCore 0.1.0 made its files; never change it.
WRITER_OF_VERSION_1 = (
    "CREATE TABLE IF NOT EXISTS writer (only_row INTEGER PRIMARY KEY CHECK (only_row = 1), epoch INTEGER)",
    "INSERT INTO writer VALUES (1, 1) ON CONFLICT (only_row) DO UPDATE SET epoch = epoch + 1",
    "PRAGMA user_version = 1",
)
ITEMS_OF_VERSION_1 = (
    """CREATE TABLE IF NOT EXISTS items (
           owner TEXT NOT NULL, item_id TEXT NOT NULL, value BLOB NOT NULL, expires_at REAL, used INTEGER,
           UNIQUE (owner, item_id))""",
    "CREATE INDEX IF NOT EXISTS items_by_expiry ON items (expires_at) WHERE expires_at IS NOT NULL",
    "CREATE INDEX IF NOT EXISTS items_by_use ON items (used) WHERE used IS NOT NULL",
    """CREATE TABLE IF NOT EXISTS totals (
           only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
           items INTEGER NOT NULL, bytes INTEGER NOT NULL, evictions INTEGER NOT NULL, expirations INTEGER NOT NULL)""",
    "INSERT INTO totals VALUES (1, 0, 0, 0, 0) ON CONFLICT DO NOTHING",
    """CREATE TRIGGER IF NOT EXISTS items_inserted AFTER INSERT ON items BEGIN
           UPDATE totals SET items = items + 1, bytes = bytes + length(new.value); END""",
    """CREATE TRIGGER IF NOT EXISTS items_replaced AFTER UPDATE OF value ON items BEGIN
           UPDATE totals SET bytes = bytes + length(new.value) - length(old.value); END""",
    """CREATE TRIGGER IF NOT EXISTS items_deleted AFTER DELETE ON items BEGIN
           UPDATE totals SET items = items - 1, bytes = bytes - length(old.value); END""",
    *WRITER_OF_VERSION_1,
)
MISSES_OF_VERSION_1 = (
    """CREATE TABLE IF NOT EXISTS misses (
           item_id TEXT PRIMARY KEY, misses INTEGER NOT NULL, overcount INTEGER NOT NULL)""",
    "CREATE INDEX IF NOT EXISTS misses_by_count ON misses (misses)",
    """CREATE TABLE IF NOT EXISTS totals (
           only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
           items INTEGER NOT NULL, misses INTEGER NOT NULL, evictions INTEGER NOT NULL,
           highest_dropped INTEGER NOT NULL)""",
    "INSERT INTO totals VALUES (1, 0, 0, 0, 0) ON CONFLICT DO NOTHING",
    *WRITER_OF_VERSION_1,
)
ITEMS = {f"item \u00e4 {number}": bytes([number]) * 100 * number for number in range(100)}
FAR_FUTURE = 1e11  # seconds since the epoch

# Prints once all steps are taken, and never commits them.
KILLED_MIGRATION = """
import sqlite3, sys
from tests.unit.test_schema import LARGER
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("PRAGMA cache_size = 1")  # pages go to the file before the commit
connection.execute("BEGIN IMMEDIATE")
LARGER.migrate(connection)
print("migrated", flush=True)
sys.stdin.read()
"""
NOTES = store_schema(("CREATE TABLE notes (text TEXT)",))
LARGER = Schema(
    (
        *NOTES.steps,
        (
            "ALTER TABLE notes ADD COLUMN length INTEGER",
            "UPDATE notes SET length = length(text), text = text || text",
        ),
        ("CREATE INDEX notes_by_length ON notes (length)",),
    )
)
NOTES_FILE = (*(statement for step in NOTES.steps for statement in step), f"PRAGMA user_version = {NOTES.version}")
FAILING = Schema((*LARGER.steps, ("INSERT INTO no_such_table VALUES (1)",)))


def make(path: Path, statements: Iterable[str]) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        for statement in statements:
            connection.execute(statement)


def columns(path: Path, table: str) -> list[str]:
    with closing(sqlite3.connect(path)) as connection:
        return [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]


def test_an_items_file_of_version_1_opens_with_all_its_items(tmp_path: Path) -> None:
    path = tmp_path / "items.sqlite3"
    make(path, ITEMS_OF_VERSION_1)
    with closing(sqlite3.connect(path)) as connection, connection:
        rows = [("organ", item_id, value, FAR_FUTURE if value else None, None) for item_id, value in ITEMS.items()]
        connection.executemany("INSERT INTO items VALUES (?, ?, ?, ?, ?)", rows)
    for _ in range(2):
        store = ItemStore(path, Synchronous.NORMAL)
        with closing(store.database):
            assert store.get_many("organ", ITEMS) == ITEMS
            assert store.stats()["items"] == len(ITEMS)
            assert store.stats()["bytes"] == sum(map(len, ITEMS.values()))
            with store.database.transaction() as connection:
                assert version_of(connection) == tables.ITEM_SCHEMA.version
                store.set_many(connection, "organ", dict(list(ITEMS.items())[:3]), None)


def test_a_misses_file_of_version_1_opens_with_all_its_counts(tmp_path: Path) -> None:
    path = tmp_path / "misses.sqlite3"
    make(path, MISSES_OF_VERSION_1)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.executemany("INSERT INTO misses VALUES (?, ?, ?)", [("a", 7, 2), ("b", 19, 0)])
        connection.execute("UPDATE totals SET items = 2, misses = 26, highest_dropped = 2")
    for times in (1, 2):
        store = MissStore(path, Synchronous.NORMAL, 10)
        with closing(store.database):
            with store.database.transaction() as connection:
                assert version_of(connection) == tables.MISS_SCHEMA.version
                store.record(connection, {"a": 1})
            assert store.top(5) == [HotItem("b", 19, 0), HotItem("a", 7 + times, 2)]


@pytest.mark.parametrize("steps", range(len(LARGER.steps) + 1))
def test_each_older_version_takes_the_steps_that_it_lacks(tmp_path: Path, steps: int) -> None:
    path = tmp_path / "notes.sqlite3"
    make(path, [*(statement for step in LARGER.steps[:steps] for statement in step), f"PRAGMA user_version = {steps}"])
    with closing(Database(path, LARGER, Synchronous.NORMAL)) as database, database.transaction() as connection:
        connection.execute("INSERT INTO notes VALUES ('text', 4)")
        assert version_of(connection) == LARGER.version
        assert connection.execute("SELECT name FROM sqlite_master WHERE type = 'index'").fetchall() == [
            ("notes_by_length",)
        ]


def test_a_migration_that_fails_leaves_the_older_version(tmp_path: Path) -> None:
    path = tmp_path / "notes.sqlite3"
    make(path, [*NOTES_FILE, "INSERT INTO notes VALUES ('kept')"])
    with pytest.raises(StoreUnavailableError, match=f"{path}.*no_such_table"):
        Database(path, FAILING, Synchronous.NORMAL)
    assert columns(path, "notes") == ["text"]
    with closing(Database(path, NOTES, Synchronous.NORMAL)) as database, database.reading() as connection:
        assert connection.execute("SELECT * FROM notes").fetchall() == [("kept",)]


def test_a_migration_whose_process_is_killed_leaves_the_older_version(tmp_path: Path) -> None:
    path = tmp_path / "notes.sqlite3"
    make(path, NOTES_FILE)
    texts = [(f"{number} " * 500,) for number in range(500)]
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.executemany("INSERT INTO notes VALUES (?)", texts)
    with subprocess.Popen(
        [sys.executable, "-c", KILLED_MIGRATION, str(path)],
        cwd=PROJECT_ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "migrated\n"
        process.kill()
    assert Path(f"{path}-wal").stat().st_size > 0
    assert columns(path, "notes") == ["text"]
    with closing(Database(path, NOTES, Synchronous.NORMAL)) as database, database.reading() as connection:
        assert connection.execute("SELECT text FROM notes").fetchall() == texts
