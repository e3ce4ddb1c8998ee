"""One SQLite file with one writer: opening, schema version, fencing and transactions."""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from itertools import zip_longest
from pathlib import Path
from typing import Final

from tenacity import Retrying, retry_if_exception, stop_after_delay, wait_fixed

from seedcore.errors import StoreDamagedError, StoreFencedError, StoreUnavailableError
from seedcore.memory import checksums, request_log, salvage, store_files
from seedcore.memory.checksums import CheckedTable
from seedcore.memory.schema import Schema
from seedcore.memory.wal import cut_leftovers
from seedcore.settings import Synchronous

BUSY_TIMEOUT_S: Final = 10.0  # how long a statement waits for another process's lock
LOCKED_BACKOFF_S: Final = 0.01  # between two tries of what SQLite does not wait for
CACHE_KIB: Final = 16 * 1024  # page cache of each connection

# What every file has, whatever else is in it: the statements of each schema step.
COMMON_STEPS: Final = (
    ("CREATE TABLE writer (only_row INTEGER PRIMARY KEY CHECK (only_row = 1), epoch INTEGER)",),
    request_log.TABLES,
    (salvage.TABLE,),
)


def store_schema(
    *steps: tuple[str, ...],
    checked: tuple[CheckedTable, ...] = (),
    counters: tuple[str, ...] = (),
    recount: tuple[str, ...] = (),
) -> Schema:
    """The schema of a store.

    Args:
        steps: its own statements for each version; empty for one that changes only what every store has.
        checked: as in `Schema`, like all others.
        counters: as in `Schema`.
        recount: as in `Schema`.
    """
    all_steps = tuple(common + own for common, own in zip_longest(COMMON_STEPS, steps, fillvalue=()))
    return Schema(all_steps, checked, counters, recount)


class Database:
    """A SQLite database in WAL mode, opened by its one writer.

    Opening it makes this process the writer and fences the one before: a paused process that wakes up after its
    successor has opened the file cannot commit any more. A damaged file is set aside, and what can be read of it is in
    the new one.

    Args:
        path: the file; its folder is created.
        schema: its tables; a file of an older version is migrated.
        synchronous: when SQLite waits for the disk.

    Raises:
        StoreUnavailableError: the file cannot be opened or was written by a newer version.
    """

    def __init__(self, path: Path, schema: Schema, synchronous: Synchronous) -> None:
        self.path = path
        self._schema = schema
        self._synchronous = synchronous
        with self._explained("open"):
            path.parent.mkdir(parents=True, exist_ok=True)
            with store_files.locked(path) as lock:
                store_files.finish_replacing(path)
                self._open(store_files.had_content(lock), salvages=True)
                store_files.remember_content(lock)

    def _open(self, had_content: bool, salvages: bool) -> None:
        with ExitStack() as opened:
            try:
                self._open_file(opened, had_content)
            except StoreDamagedError as error:
                if not salvages:
                    raise
                # While its connection is open: SQLite deletes the log when the last one closes.
                salvage.salvage(self.path, self._schema, str(error))
            else:
                opened.pop_all()  # both connections stay open
                return
        self._open(had_content=True, salvages=False)

    def _open_file(self, opened: ExitStack, had_content: bool) -> None:
        with self._explained("open"):
            log = store_files.companion(self.path, "-wal")
            salvage.check_emptied(self.path, had_content)
            self._writer = self._connect(opened)
            self._schema.check(self._writer, self.path)  # before anything is written
            self._writer.execute("BEGIN IMMEDIATE")
            salvage.check(self._writer, self.path, self._schema)
            cut_leftovers(log)
            self._schema.migrate(self._writer)
            self._writer.execute(
                "INSERT INTO writer VALUES (1, 1) ON CONFLICT (only_row) DO UPDATE SET epoch = epoch + 1"
            )
            self._epoch = self._read_epoch()
            request_log.forget_dead_clients(self._writer, time.time())
            self._writer.execute("COMMIT")
            cut_leftovers(log)  # again: with readers alive SQLite may know less of the log than is in it
            self._identity = store_files.identity(self.path)
            self.reader = self._connect(opened)
            self.reader.execute("PRAGMA query_only = ON")

    def _connect(self, opened: ExitStack) -> sqlite3.Connection:
        # Transactions are ours (isolation_level None); one thread at a time uses a connection, not always the same.
        connection = sqlite3.connect(
            self.path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False, cached_statements=256
        )
        opened.enter_context(closing(connection))
        # SQLite does not wait for another process that turns a new file to WAL at the same moment.
        Retrying(
            retry=retry_if_exception(lambda error: "locked" in str(error)),
            stop=stop_after_delay(BUSY_TIMEOUT_S),
            wait=wait_fixed(LOCKED_BACKOFF_S),
            reraise=True,
        )(connection.execute, "PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA synchronous = {self._synchronous.value}")
        checksums.install(connection)
        connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
        return connection

    def _read_epoch(self) -> int:
        return int(self._writer.execute("SELECT epoch FROM writer").fetchone()[0])

    def _check_fence(self) -> None:
        if store_files.identity(self.path) != self._identity:
            raise StoreFencedError(f"another file has taken the place of {self.path}; its writer of before must stop")
        if self._read_epoch() != self._epoch:
            raise StoreFencedError(f"another process has opened {self.path} as its writer; this one must stop")

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """The write connection inside one transaction: committed at the end, rolled back on any error.

        Raises:
            StoreFencedError: another process has become the writer.
            StoreDamagedError: the file itself is broken; the process should end, so that its successor salvages it.
            StoreUnavailableError: the disk is full or read-only.
        """
        with self._explained("write to"):
            self._writer.execute("BEGIN IMMEDIATE")
            try:
                self._check_fence()
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
            if salvage.is_damage(error):
                raise StoreDamagedError(f"cannot {verb} {self.path}: {error}") from error
            raise StoreUnavailableError(f"cannot {verb} {self.path}: {error}") from error

    def salvage_stats(self) -> dict[str, int]:
        """Rows that were salvaged from damaged files, and how many were lost if that is known; empty without damage."""
        with self.reading() as connection:
            salvaged, lost, is_known = connection.execute(
                "SELECT sum(salvaged), sum(lost), count(*) = count(lost) FROM salvages"
            ).fetchone()
        if salvaged is None:
            return {}
        return {"salvaged": salvaged, "lost": lost} if is_known else {"salvaged": salvaged}

    def close(self) -> None:
        """Close both connections; the last one to close empties the write-ahead log."""
        self.reader.close()
        self._writer.close()
