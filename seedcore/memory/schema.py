"""What a store's file looks like, version by version, and how an older file gets there."""

import sqlite3
from dataclasses import dataclass
from pathlib import Path

from seedcore.errors import StoreUnavailableError


@dataclass(frozen=True)
class Schema:
    """The numbered steps that make a file; version n is the file after n of them.

    A step that was ever in use is frozen: files out there were made by it. A change is one more step.

    Args:
        steps: SQL statements of each step, from the empty file on.
    """

    steps: tuple[tuple[str, ...], ...]

    @property
    def version(self) -> int:
        """What a file has after all steps; it is kept in `PRAGMA user_version`."""
        return len(self.steps)

    def check(self, connection: sqlite3.Connection, path: Path) -> None:
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
        for step in self.steps[version_of(connection) :]:
            for statement in step:
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {self.version}")


def version_of(connection: sqlite3.Connection) -> int:
    """How many steps the file has taken."""
    return int(connection.execute("PRAGMA user_version").fetchone()[0])
