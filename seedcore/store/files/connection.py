"""Opens SQLite, for whoever reads or writes a store."""

import sqlite3
from pathlib import Path
from typing import Final
from urllib.parse import quote

from seedcore.store.files import checksums

MEMORY: Final = Path(":memory:")
BUSY_TIMEOUT_S: Final = 10.0  # how long a statement waits for another process's lock
CACHE_KIB: Final = 16 * 1024  # page cache of a store in use; SQLite empties a reader's after each write
CACHED_STATEMENTS: Final = 256


def open_connection(
    path: Path,
    mode: str = "rwc",
    *,
    immutable: bool = False,
    is_in_use: bool = False,
    busy_timeout_s: float = BUSY_TIMEOUT_S,
) -> sqlite3.Connection:
    """A connection whose transactions are the caller's, and whose SQL may call `checksum(...)`.

    One thread at a time may use it, not always the same.

    Args:
        path: the file, or `MEMORY` for none.
        mode: of SQLite's URIs: ro, rw (which does not make a file) or rwc.
        immutable: nobody writes to it meanwhile; for a file without a log in a folder that cannot be written.
        is_in_use: as a store is, so that a large page cache pays; the file must be a good one.
        busy_timeout_s: how long a statement waits for another process's lock.

    Raises:
        sqlite3.Error: it cannot be opened.
    """
    where = str(path) if path == MEMORY else f"file:{quote(str(path))}?mode={mode}{'&immutable=1' if immutable else ''}"
    connection = sqlite3.connect(
        where,
        uri=path != MEMORY,
        isolation_level=None,
        timeout=busy_timeout_s,
        check_same_thread=False,
        cached_statements=CACHED_STATEMENTS,
    )
    if is_in_use:
        connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
    checksums.install(connection)
    return connection
