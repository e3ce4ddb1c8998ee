import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from seedcore.errors import StoreFencedError, StoreUnavailableError
from seedcore.settings import Synchronous
from seedcore.store.files.tables import store_schema
from seedcore.store.sqlite.database import Database

SCHEMA = store_schema(("CREATE TABLE notes (text TEXT UNIQUE)",))

Open = Callable[[Path], Database]


@pytest.fixture
def opened() -> Iterator[Open]:
    """Opens databases, and closes them after the test."""
    databases: list[Database] = []

    def open_database(path: Path) -> Database:
        database = Database(path, SCHEMA, Synchronous.NORMAL)
        databases.append(database)
        return database

    yield open_database
    for database in databases:
        database.close()


def files_in(folder: Path) -> list[Path]:
    return sorted(file for file in folder.iterdir() if file.suffix != ".lock")


def note(database: Database, *texts: str) -> None:
    with database.transaction() as connection:
        connection.executemany("INSERT INTO notes VALUES (?)", [(text,) for text in texts])


def notes(database: Database) -> list[str]:
    with database.reading() as connection:
        return [text for (text,) in connection.execute("SELECT text FROM notes ORDER BY rowid")]


# One writer


def test_a_paused_writer_cannot_commit_after_its_successor_opened_the_file(tmp_path: Path, opened: Open) -> None:
    path = tmp_path / "notes.sqlite3"
    paused = opened(path)
    note(paused, "before the pause")
    successor = opened(path)
    note(successor, "by the successor")
    for _ in range(2):
        with pytest.raises(StoreFencedError, match=str(path)):
            note(paused, "after the pause")
    note(successor, "later by the successor")
    kept = ["before the pause", "by the successor", "later by the successor"]
    assert notes(successor) == kept
    assert notes(paused) == kept


def test_a_fenced_transaction_runs_none_of_its_statements(tmp_path: Path, opened: Open) -> None:
    paused = opened(tmp_path / "notes.sqlite3")
    opened(tmp_path / "notes.sqlite3")
    entered = False
    with pytest.raises(StoreFencedError), paused.transaction():
        entered = True
    assert not entered


def test_of_many_that_open_the_file_at_once_one_is_the_writer(tmp_path: Path, opened: Open) -> None:
    together = threading.Barrier(8)

    def open_and_note(number: int) -> Database:
        together.wait()
        return opened(tmp_path / "notes.sqlite3")

    with ThreadPoolExecutor(8) as pool:
        databases = list(pool.map(open_and_note, range(8)))
    fenced = 0
    for number, database in enumerate(databases):
        try:
            note(database, str(number))
        except StoreFencedError:
            fenced += 1
    assert fenced == 7
    assert len(notes(databases[0])) == 1


def test_a_closed_database_opens_again_with_what_was_kept(tmp_path: Path) -> None:
    for number in range(3):
        with closing(Database(tmp_path / "deep" / "er" / "notes.sqlite3", SCHEMA, Synchronous.NORMAL)) as database:
            assert notes(database) == [str(earlier) for earlier in range(number)]
            note(database, str(number))


# Transactions


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, GeneratorExit])
def test_a_failed_transaction_keeps_nothing_and_the_next_one_works(
    tmp_path: Path, opened: Open, error: type[BaseException]
) -> None:
    database = opened(tmp_path / "notes.sqlite3")
    note(database, "kept")

    def fail() -> None:
        with database.transaction() as connection:
            connection.execute("INSERT INTO notes VALUES ('lost')")
            connection.execute("DELETE FROM notes WHERE text = 'kept'")
            raise error

    with pytest.raises(error):
        fail()
    note(database, "next")
    assert notes(database) == ["kept", "next"]


def test_a_statement_that_sqlite_refuses_keeps_nothing_and_names_the_file(tmp_path: Path, opened: Open) -> None:
    database = opened(tmp_path / "notes.sqlite3")
    with pytest.raises(StoreUnavailableError, match=str(database.path)):
        note(database, "twice", "twice")
    assert notes(database) == []


def test_a_reader_sees_the_last_commit_while_a_transaction_is_open(tmp_path: Path, opened: Open) -> None:
    database = opened(tmp_path / "notes.sqlite3")
    note(database, "committed")
    with closing(sqlite3.connect(database.path)) as other_process, database.transaction() as connection:
        connection.execute("INSERT INTO notes VALUES ('not yet')")
        assert notes(database) == ["committed"]
        assert other_process.execute("SELECT text FROM notes").fetchall() == [("committed",)]
    assert notes(database) == ["committed", "not yet"]


def test_reading_cannot_write(tmp_path: Path, opened: Open) -> None:
    database = opened(tmp_path / "notes.sqlite3")
    note(database, "kept")
    with pytest.raises(StoreUnavailableError, match=str(database.path)), database.reading() as connection:
        connection.execute("DELETE FROM notes")
    assert notes(database) == ["kept"]


@pytest.mark.parametrize(("synchronous", "number"), [(Synchronous.NORMAL, 1), (Synchronous.FULL, 2)])
def test_sqlite_waits_for_the_disk_as_the_knob_says(tmp_path: Path, synchronous: Synchronous, number: int) -> None:
    with (
        closing(Database(tmp_path / "notes.sqlite3", SCHEMA, synchronous)) as database,
        database.transaction() as connection,
    ):
        assert connection.execute("PRAGMA synchronous").fetchone() == (number,)
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


# Files that cannot be opened


def test_a_file_of_a_newer_version_is_refused_and_left_as_it_is(tmp_path: Path, opened: Open) -> None:
    path = tmp_path / "notes.sqlite3"
    newer = SCHEMA.version + 1
    with closing(Database(path, SCHEMA, Synchronous.NORMAL)) as database:
        note(database, "of the future")
        with database.transaction() as connection:
            connection.execute(f"PRAGMA user_version = {newer}")
    before = path.read_bytes()
    with pytest.raises(StoreUnavailableError, match=f"{path} has schema version {newer}.*up to {SCHEMA.version}"):
        opened(path)
    assert path.read_bytes() == before
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT text FROM notes").fetchall() == [("of the future",)]
        assert connection.execute("PRAGMA user_version").fetchone() == (newer,)


def test_a_refused_file_is_not_held_open(tmp_path: Path, opened: Open) -> None:
    path = tmp_path / "notes.sqlite3"
    with closing(Database(path, SCHEMA, Synchronous.NORMAL)) as database, database.transaction() as connection:
        connection.execute(f"PRAGMA user_version = {SCHEMA.version + 1}")
    with pytest.raises(StoreUnavailableError) as refused:
        opened(path)
    # The last connection that closes removes the files of the write-ahead log.
    assert files_in(tmp_path) == [path], str(refused.value)


def a_folder_in_place_of_the_file(folder: Path) -> Path:
    path = folder / "notes.sqlite3"
    path.mkdir()
    return path


def a_file_in_place_of_the_folder(folder: Path) -> Path:
    (folder / "state").write_text("a file")
    return folder / "state" / "notes.sqlite3"


def a_folder_that_nobody_can_make(folder: Path) -> Path:
    (folder / "state").symlink_to(folder / "state")
    return folder / "state" / "notes.sqlite3"


def a_link_to_nowhere(folder: Path) -> Path:
    path = folder / "notes.sqlite3"
    path.symlink_to(folder / "no" / "such" / "folder")
    return path


@pytest.mark.parametrize(
    "make_fault",
    [
        a_folder_in_place_of_the_file,
        a_file_in_place_of_the_folder,
        a_folder_that_nobody_can_make,
        a_link_to_nowhere,
    ],
)
def test_a_file_that_cannot_be_opened_is_named_and_left_as_it_is(
    tmp_path: Path, opened: Open, make_fault: Callable[[Path], Path]
) -> None:
    path = make_fault(tmp_path)
    before = {file: file.read_bytes() for file in files_in(tmp_path) if file.is_file()}
    with pytest.raises(StoreUnavailableError, match=str(path)):
        opened(path)
    assert {file: file.read_bytes() for file in files_in(tmp_path) if file.is_file()} == before
