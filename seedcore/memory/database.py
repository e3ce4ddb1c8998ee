"""One SQLite file with one writer: opening, schema version, fencing and transactions."""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from itertools import zip_longest
from pathlib import Path
from typing import Final

from tenacity import Retrying, retry_if_exception, stop_after_delay, wait_fixed

from seedcore.errors import StoreFencedError, StoreUnavailableError
from seedcore.memory import request_log
from seedcore.memory.schema import Schema
from seedcore.settings import Synchronous

BUSY_TIMEOUT_S: Final = 10.0  # how long a statement waits for another process's lock
LOCKED_BACKOFF_S: Final = 0.01  # between two tries of what SQLite does not wait for
CACHE_KIB: Final = 16 * 1024  # page cache of each connection

# What every file has, whatever else is in it: the statements of each schema step.
COMMON_STEPS: Final = (
    ("CREATE TABLE writer (only_row INTEGER PRIMARY KEY CHECK (only_row = 1), epoch INTEGER)",),
    request_log.TABLES,
)


def store_schema(*steps: tuple[str, ...]) -> Schema:
    """The schema of a store.

    Args:
        steps: its own statements for each version; empty for one that changes only what every store has.
    """
    return Schema(tuple(common + own for common, own in zip_longest(COMMON_STEPS, steps, fillvalue=())))


class Database:
    """A SQLite database in WAL mode, opened by its one writer.

    Opening it makes this process the writer and fences the one before: a paused process that wakes up after its
    successor has opened the file cannot commit any more.

    Args:
        path: the file; its folder is created.
        schema: its tables; a file of an older version is migrated.
        synchronous: when SQLite waits for the disk.

    Raises:
        StoreUnavailableError: the file cannot be opened or was written by a newer version.
    """

    def __init__(self, path: Path, schema: Schema, synchronous: Synchronous) -> None:
        self.path = path
        with self._explained("open"), ExitStack() as opened:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._writer = opened.enter_context(closing(self._connect(synchronous)))
            schema.check(self._writer, path)  # before anything is written
            self._writer.execute("BEGIN IMMEDIATE")
            schema.check(self._writer, path)
            schema.migrate(self._writer)
            self._writer.execute(
                "INSERT INTO writer VALUES (1, 1) ON CONFLICT (only_row) DO UPDATE SET epoch = epoch + 1"
            )
            self._epoch = self._read_epoch()
            request_log.forget_dead_clients(self._writer, time.time())
            self._writer.execute("COMMIT")
            self.reader = opened.enter_context(closing(self._connect(synchronous)))
            self.reader.execute("PRAGMA query_only = ON")
            opened.pop_all()  # both stay open

    def _connect(self, synchronous: Synchronous) -> sqlite3.Connection:
        # Transactions are ours (isolation_level None); one thread at a time uses a connection, not always the same.
        connection = sqlite3.connect(
            self.path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False, cached_statements=256
        )
        # SQLite does not wait for another process that turns a new file to WAL at the same moment.
        Retrying(
            retry=retry_if_exception(lambda error: "locked" in str(error)),
            stop=stop_after_delay(BUSY_TIMEOUT_S),
            wait=wait_fixed(LOCKED_BACKOFF_S),
            reraise=True,
        )(connection.execute, "PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA synchronous = {synchronous.value}")
        connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
        return connection

    def _read_epoch(self) -> int:
        return int(self._writer.execute("SELECT epoch FROM writer").fetchone()[0])

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """The write connection inside one transaction: committed at the end, rolled back on any error.

        Raises:
            StoreFencedError: another process has become the writer.
            StoreUnavailableError: the disk is full, read-only or damaged.
        """
        with self._explained("write to"):
            self._writer.execute("BEGIN IMMEDIATE")
            try:
                if self._read_epoch() != self._epoch:
                    raise StoreFencedError(f"another process has opened {self.path} as its writer; this one must stop")
                yield self._writer
                self._writer.execute("COMMIT")
            except BaseException:
                if self._writer.in_transaction:
                    self._writer.execute("ROLLBACK")
                raise

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """The read connection; it sees everything that was committed before.

        Raises:
            StoreUnavailableError: the file cannot be read.
        """
        with self._explained("read"):
            yield self.reader

    @contextmanager
    def _explained(self, verb: str) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise StoreUnavailableError(f"cannot {verb} {self.path}: {error}") from error

    def close(self) -> None:
        """Close both connections; the last one to close empties the write-ahead log."""
        self.reader.close()
        self._writer.close()
