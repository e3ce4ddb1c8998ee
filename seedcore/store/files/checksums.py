"""Tells what was written from what the disk changed since."""

import sqlite3
import zlib
from dataclasses import dataclass
from typing import Final

import msgpack

DAMAGE_CODES: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
COLUMN: Final = "checksum"  # of every table that has one, and the SQL function that computes it


@dataclass(frozen=True)
class CheckedTable:
    """A table whose rows carry a checksum in the column `checksum`.

    Args:
        name: of the table.
        checked: the columns that the checksum covers, in its order.
        unchecked: columns of whole numbers that it does not cover, since they change without the rest.
    """

    name: str
    checked: tuple[str, ...]
    unchecked: tuple[str, ...] = ()

    def migration(self) -> tuple[str, ...]:
        """The statements that give a table its checksums; in use, so frozen."""
        return (
            f"ALTER TABLE {self.name} ADD COLUMN {COLUMN} INTEGER NOT NULL DEFAULT 0",
            f"UPDATE {self.name} SET {COLUMN} = {COLUMN}({', '.join(self.checked)})",
        )


# One for all, which takes half as long: threads may share it as each call is one of C that lets no other in.
_pack: Final = msgpack.Packer().pack


def checksum(*columns: object) -> int:
    """The checksum of a row: of what its columns hold, types and lengths included."""
    return zlib.crc32(_pack(columns))


def install(connection: sqlite3.Connection) -> None:
    """Let the connection's SQL call `checksum(...)`."""
    connection.create_function(COLUMN, -1, checksum, deterministic=True)


def is_damage(error: BaseException | None) -> bool:
    """Whether the error says that the file itself is broken."""
    return isinstance(error, sqlite3.Error) and (getattr(error, "sqlite_errorcode", 0) & 0xFF) in DAMAGE_CODES
