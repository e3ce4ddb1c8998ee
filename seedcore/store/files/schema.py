"""What a store's file looks like, version by version, and how an older file gets there."""

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from seedcore.errors import StoreUnavailableError
from seedcore.store.files.checksums import CheckedTable
from seedcore.store.files.connection import MEMORY, open_connection


@dataclass(frozen=True)
class Schema:
    """The numbered steps that make a file; version n is the file after n of them.

    A step that was ever in use is frozen: files out there were made by it. A change is one more step.

    Args:
        steps: SQL statements of each step, from the empty file on.
        checked: the tables whose rows a salvage saves.
        counters: columns of the table `totals` that a salvage copies.
        recount: statements that set the others right after it.
    """

    steps: tuple[tuple[str, ...], ...]
    checked: tuple[CheckedTable, ...] = ()
    counters: tuple[str, ...] = ()
    recount: tuple[str, ...] = ()

    @property
    def version(self) -> int:
        """What a file has after all steps; it is kept in `PRAGMA user_version`."""
        return len(self.steps)

    def require_known(self, connection: sqlite3.Connection, path: Path) -> None:
        """Refuse a file that a newer SeedCore wrote.

        Raises:
            StoreUnavailableError: it has more steps than these.
        """
        version = version_of(connection)
        if version > self.version:
            raise StoreUnavailableError(
                f"{path} has schema version {version}, this SeedCore knows up to {self.version}: "
                "upgrade SeedCore, or set the file aside"
            )

    def migrate(self, connection: sqlite3.Connection) -> None:
        """Take the steps that the file lacks, inside an open transaction: all of them or none."""
        self._take(connection, version_of(connection), self.version)

    def has_tables_of(self, connection: sqlite3.Connection, version: int) -> bool:
        """Whether the file's tables, indexes and triggers are those of the version."""
        with closing(open_connection(MEMORY)) as fresh:
            self._take(fresh, 0, version)
            return _tables(fresh) == _tables(connection)

    def _take(self, connection: sqlite3.Connection, first: int, last: int) -> None:
        for step in self.steps[first:last]:
            for statement in step:
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {last}")


def _tables(connection: sqlite3.Connection) -> list[tuple[str, str]]:
    return connection.execute("SELECT name, sql FROM sqlite_master ORDER BY type, name").fetchall()


def version_of(connection: sqlite3.Connection) -> int:
    """How many steps the file has taken."""
    return int(connection.execute("PRAGMA user_version").fetchone()[0])
