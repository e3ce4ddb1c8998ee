"""Copies a store while it is in use, with its files of arrays, and puts a copy in its place."""

import logging
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Final

from seedcore.errors import StoreDamagedError, StoreUnavailableError
from seedcore.store.files import array_files, checksums, store_files, tables
from seedcore.store.files.connection import open_connection
from seedcore.store.files.schema import Schema
from seedcore.store.recovery.salvage import carry_over, inspect_tables

logger = logging.getLogger(__name__)

SCHEMAS: Final = (tables.ITEM_SCHEMA, tables.MISS_SCHEMA)
RESTORE_ANOTHER: Final = "restore another backup"
MAX_COPIES: Final = 20  # tries to copy a store whose arrays are replaced all the time


def backup(path: Path, destination: Path) -> int:
    """Copy the store as it is at one moment, while its writer goes on; the copy is checked, and one file with a folder
    of arrays beside it.

    Args:
        path: of the store.
        destination: of the copy; what is there is replaced once the copy is good. On the store's own disk, arrays take
            no room until they go from the store.

    Returns:
        how many items, or counters of misses, are in it.

    Raises:
        StoreDamagedError: the store is damaged, as `make restore` would refuse it. The destination is as it was.
        StoreUnavailableError: the store cannot be read, or the destination cannot be written.
    """
    with _explained(f"back up {path} to {destination}"):
        destination.parent.mkdir(parents=True, exist_ok=True)
        building = store_files.building_path(destination)
        try:
            _copy_with_arrays(path, building)
            with closing(open_connection(building, "ro")) as copy:
                rows = _inspect(copy, path, building, "set the damaged items anew or delete them, then back up again")
            store_files.put(building, destination)
        finally:
            store_files.building_path(destination)  # deletes what a failure leaves
    return rows


def inspect_backup(backup_path: Path) -> int:
    """Look through all of a backup, as `restore` does before it replaces anything.

    Returns:
        how many items, or counters of misses, are in it.

    Raises:
        StoreDamagedError, StoreUnavailableError: as `restore`.
    """
    with _explained(f"read {backup_path}"), closing(open_connection(backup_path, "ro")) as connection:
        return _inspect(connection, backup_path, backup_path, RESTORE_ANOTHER)


def restore(backup_path: Path, path: Path) -> Path | None:
    """Put a copy of the backup in the store's place. Its writer, if it is alive, is fenced at its next call.

    What the requests of before did is remembered, so that none of them that is repeated is done again. A process that
    is killed in here leaves the old store, or the backup as a whole.

    Args:
        backup_path: a file that `backup` made; it stays as it is.
        path: of the store.

    Returns:
        where the old store is now, if there was one.

    Raises:
        StoreDamagedError: the backup is damaged.
        StoreUnavailableError: it was written by a newer SeedCore, or a file cannot be read or written.
    """
    with _explained(f"restore {backup_path} to {path}"):
        path.parent.mkdir(parents=True, exist_ok=True)
        with store_files.locked(path) as lock, ExitStack() as opened:
            store_files.finish_replacing(path)
            building = store_files.building_path(path)
            opened.callback(store_files.building_path, path)  # deletes what a failure leaves
            _copy(backup_path, building)
            with closing(open_connection(building, "rw")) as new:
                rows = _inspect(new, backup_path, backup_path, RESTORE_ANOTHER)
                old = _present_store(path, opened)
                new.execute("PRAGMA synchronous = OFF")  # the whole file is synced at its end
                new.execute("BEGIN")
                _schema_of(new, backup_path).migrate(new)
                if old is not None:
                    carry_over(old, new)
                new.execute("UPDATE writer SET epoch = epoch + 1")
                new.execute("COMMIT")
            had_store = store_files.identity(path) is not None
            store_files.link_arrays(backup_path, path)
            aside = store_files.replace(path, building, f"before-restore-{store_files.utc_now()}")
            store_files.remember_content(lock)
    logger.info("restored %d rows from %s to %s; the store of before is %s", rows, backup_path, path, aside)
    return aside if had_store else None


def _present_store(path: Path, opened: ExitStack) -> sqlite3.Connection | None:
    """The store that is to be replaced, locked against its writer until it was; None if that cannot be done."""
    if store_files.size_of(path) <= 0:
        return None
    connection = opened.enter_context(closing(open_connection(path, "rw")))
    try:
        connection.execute("BEGIN IMMEDIATE")
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode == sqlite3.SQLITE_BUSY:
            raise
        return None
    except sqlite3.DatabaseError:
        return None
    return connection


def _copy(path: Path, target: Path) -> None:
    if store_files.size_of(path) <= 0:
        raise StoreUnavailableError(f"there is no store in {path}: check its name")
    with closing(open_connection(path, "ro")) as source, closing(open_connection(target)) as copy:
        source.backup(copy)  # in one step, which sees one moment
        copy.execute("PRAGMA journal_mode = DELETE")  # so that it is one file


def _copy_with_arrays(path: Path, building: Path) -> None:
    for _ in range(MAX_COPIES):
        # Before the copy, for what goes while it is made, and after it, for what came.
        store_files.link_arrays(path, building)
        _copy(path, building)
        store_files.link_arrays(path, building)
        with closing(open_connection(building, "ro")) as copy:
            if array_files.keep_only(building, _references(copy, path)):
                return  # else one came and went meanwhile, or is really lost, which the check tells


def _references(connection: sqlite3.Connection, path: Path) -> Iterator[bytes]:
    if _schema_of(connection, path) is tables.ITEM_SCHEMA:
        for (value,) in connection.execute(tables.REFERENCES):
            yield value


def _inspect(connection: sqlite3.Connection, path: Path, arrays_of: Path, remedy: str) -> int:
    """Check all of a copy, every row and array included; how many rows it has."""
    try:
        schema = _schema_of(connection, path)
        schema.require_known(connection, path)
        inspect_tables(connection, path, schema, is_whole=True)
        damaged, rows = 0, 0
        for table in schema.checked:
            rows += connection.execute(f"SELECT count(*) FROM {table.name}").fetchone()[0]
            with suppress(sqlite3.OperationalError):  # a file from before checksums has none
                damaged += connection.execute(
                    f"SELECT count(*) FROM {table.name} "
                    f"WHERE {checksums.COLUMN} != {checksums.COLUMN}({', '.join(table.checked)})"
                ).fetchone()[0]
        damaged += sum(not array_files.is_whole(arrays_of, value) for value in _references(connection, path))
    except StoreDamagedError as error:
        raise StoreDamagedError(f"{error}; {remedy}") from error
    except sqlite3.Error as error:
        if checksums.is_damage(error):
            raise StoreDamagedError(f"{path} is damaged: {error}; {remedy}") from error
        raise
    if damaged:
        raise StoreDamagedError(f"{path} is damaged: {damaged} of {rows} rows are not as they were written; {remedy}")
    return rows


def _schema_of(connection: sqlite3.Connection, path: Path) -> Schema:
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    for schema in SCHEMAS:
        if all(table.name in tables for table in schema.checked):
            return schema
    raise StoreDamagedError(f"{path} is no store of SeedCore: it has neither items nor counters of misses")


@contextmanager
def _explained(tried: str) -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        kind = StoreDamagedError if checksums.is_damage(error) else StoreUnavailableError
        raise kind(f"cannot {tried}: {error}") from error
