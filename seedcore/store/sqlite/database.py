"""One SQLite file with one writer: opening, fencing and transactions."""

import errno
import logging
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Final

from tenacity import Retrying, retry_if_exception, stop_after_delay, wait_fixed

from seedcore.errors import StoreDamagedError, StoreFencedError, StoreFullError, StoreUnavailableError
from seedcore.settings import Synchronous
from seedcore.store import recovery
from seedcore.store.files import checksums, store_files
from seedcore.store.files.connection import open_connection
from seedcore.store.files.schema import Schema
from seedcore.store.sqlite import request_log

logger = logging.getLogger(__name__)

LOCKED_DEADLINE_S: Final = 10.0  # how long to try what SQLite does not wait for
LOCKED_BACKOFF_S: Final = 0.01  # between two tries
KEPT_LOG_BYTES: Final = 64 * 1024**2  # of a log that has grown, as while a reader held a snapshot; 4 MiB are usual

FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
UNWRITABLE_ERRNOS: Final = FULL | {errno.EACCES, errno.EPERM, errno.EROFS}
UNWRITABLE_CODES: Final = frozenset(
    {
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_PERM,
    }
)


class Database:
    """A SQLite database in WAL mode, opened by its one writer.

    Opening it makes this process the writer and fences the one before: a paused process that wakes up after its
    successor has opened the file cannot commit any more. A file that cannot be written now is opened for reading, and
    each transaction tries to become the writer. A damaged file is set aside, and what can be read of it is in
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
        self._after_commit: list[Callable[[], object]] = []
        self._writer: sqlite3.Connection | None = None
        self.index_check: recovery.IndexCheck | None = None  # of the writer
        self.identity: tuple[int, int] | None = None  # of the file that this process has written to
        self.epoch = 0  # changes when this process becomes the writer; others may have written before
        self._reader_in_use = threading.RLock()
        try:
            self._become_writer()
        except StoreUnavailableError as error:
            self._become_reader(error)
            logger.error("%s", error)  # noqa: TRY400 - the message says it all

    def _become_writer(self) -> sqlite3.Connection:
        with self.explained("open"):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with store_files.locked(self.path) as lock:
                store_files.finish_replacing(self.path)
                writer = self._open(store_files.had_content(lock), salvages=True)
                store_files.remember_content(lock)
        return writer

    def _become_reader(self, error: StoreUnavailableError) -> None:
        """Serve reads at least, of a store that cannot be written now; else raise the error."""
        reader = recovery.open_unwritable(self.path, self._schema) if is_unwritable(error.__cause__) else None
        if reader is None:
            raise error
        self.reader = reader

    def _open(self, had_content: bool, salvages: bool) -> sqlite3.Connection:
        with ExitStack() as opened:
            try:
                writer = self._open_file(opened, had_content)
            except StoreDamagedError as error:
                if not salvages:
                    raise
                # While its connection is open: SQLite deletes the log when the last one closes.
                recovery.salvage(self.path, self._schema, str(error))
            else:
                opened.pop_all()  # both connections stay open
                return writer
        return self._open(had_content=True, salvages=False)

    def _open_file(self, opened: ExitStack, had_content: bool) -> sqlite3.Connection:
        with self.explained("open"):
            recovery.require_content(self.path, had_content)
            writer = self._connect(opened)
            self._schema.require_known(writer, self.path)  # before anything is written
            writer.execute("BEGIN IMMEDIATE")
            recovery.inspect(writer, self.path, self._schema)
            self._schema.migrate(writer)
            writer.execute(
                "INSERT INTO writer (only_row, epoch) VALUES (1, 1) "
                "ON CONFLICT (only_row) DO UPDATE SET epoch = epoch + 1"
            )
            self.epoch = _read_epoch(writer)
            request_log.forget_dead_clients(writer, time.time())
            writer.execute("COMMIT")
            recovery.trim_log(self.path)
            self.identity = store_files.identity(self.path)
            reader = self._connect(opened)
            reader.execute("PRAGMA query_only = ON")
            self.index_check = recovery.IndexCheck(self.path)
            self._writer, self.reader = writer, reader
            return writer

    def _connect(self, opened: ExitStack) -> sqlite3.Connection:
        connection = opened.enter_context(closing(open_connection(self.path, is_in_use=True)))
        # SQLite does not wait for another process that turns a new file to WAL at the same moment.
        Retrying(
            retry=retry_if_exception(lambda error: "locked" in str(error)),
            stop=stop_after_delay(LOCKED_DEADLINE_S),
            wait=wait_fixed(LOCKED_BACKOFF_S),
            reraise=True,
        )(connection.execute, "PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA synchronous = {self._synchronous.value}")
        connection.execute(f"PRAGMA journal_size_limit = {KEPT_LOG_BYTES}")
        return connection

    @property
    def is_writable(self) -> bool:
        """Whether this process is the writer, as far as it knows."""
        return self._writer is not None

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """The write connection inside one transaction: committed at the end, rolled back on any error.

        Raises:
            StoreFencedError: another process has become the writer.
            StoreDamagedError: the file itself is broken; the process should end, so that its successor salvages it.
            StoreFullError: the disk is full.
            StoreUnavailableError: the file cannot be written.
        """
        try:  # `explained` would take longer, in each transaction
            writer = self._writer or self._try_to_become_writer()
            writer.execute("BEGIN IMMEDIATE")
            self._after_commit.clear()
            try:
                self._require_unfenced(writer)
                yield writer
                writer.execute("COMMIT")
                for action in self._after_commit:
                    action()
            except BaseException:
                if writer.in_transaction:
                    writer.execute("ROLLBACK")
                raise
        except (sqlite3.Error, OSError) as error:
            raise self._explanation("write to", error) from error

    def _require_unfenced(self, writer: sqlite3.Connection) -> None:
        if self.index_check is not None and self.index_check.damage is not None:
            raise StoreDamagedError(f"{self.path} is damaged: {self.index_check.damage}")
        self._require_same_file()
        if _read_epoch(writer) != self.epoch:
            raise StoreFencedError(f"another process has opened {self.path} as its writer; this one must stop")

    def _require_same_file(self) -> None:
        try:
            found = os.stat(self.path)  # noqa: PTH116 - in each transaction, and pathlib takes twice as long
        except FileNotFoundError:
            found = None
        if found is None or (found.st_dev, found.st_ino) != self.identity:
            raise StoreFencedError(f"another file has taken the place of {self.path}; its writer of before must stop")

    def after_commit(self, action: Callable[[], object]) -> None:
        """Do this once the open transaction is committed, and never if it fails."""
        self._after_commit.append(action)

    def _try_to_become_writer(self) -> sqlite3.Connection:
        unwritable = store_files.find_unwritable(self.path)
        if unwritable is not None:  # which is quicker than to check the whole file first
            raise unwritable
        with self._reader_in_use:
            # SQLite shares one -shm among the connections of a process, and a reader's may be a read-only one.
            self.reader.close()
            try:
                writer = self._become_writer()
            except StoreUnavailableError as error:
                self._become_reader(error)
                raise
        logger.info("%s can be written again", self.path)
        return writer

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """The read connection; it sees everything that was committed before.

        Raises:
            StoreFencedError: another file has taken its place, as when a backup is restored.
            StoreUnavailableError: the file cannot be read.
        """
        with self.explained("read"), self._reader_in_use:
            if self._writer is not None:
                self._require_same_file()
            yield self.reader

    @contextmanager
    def explained(self, verb: str) -> Iterator[None]:
        """Raise what SQLite or the operating system raises in the block as what it means for the store.

        Args:
            verb: what is done to the store, for the message.

        Raises:
            StoreDamagedError, StoreFullError, StoreUnavailableError: as `transaction`.
        """
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise self._explanation(verb, error) from error

    def _explanation(self, verb: str, error: sqlite3.Error | OSError) -> StoreDamagedError | StoreUnavailableError:
        tried = f"cannot {verb} {self.path}: {error}"
        if checksums.is_damage(error):
            return StoreDamagedError(tried)
        if not is_unwritable(error):
            return StoreUnavailableError(tried)
        reason = error if isinstance(error, OSError) else store_files.find_unwritable(self.path)
        if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL or getattr(reason, "errno", None) in FULL:
            return StoreFullError(
                f"{tried}{_because(error, reason)}; free space on its disk or raise its limit, and writes go "
                "on without a restart. Reads go on, and nothing that was acknowledged is lost"
            )
        return StoreUnavailableError(
            f"{tried}{_because(error, reason)}; let this process write to {self.path.parent} and to the files in it "
            "(owner, mode, mount), and writes go on without a restart"
        )

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
        """Close all connections; the last one to close empties the write-ahead log."""
        if self.index_check is not None:
            self.index_check.close()
        self.reader.close()
        if self._writer is not None:
            self._writer.close()


def is_unwritable(error: BaseException | None) -> bool:
    """Whether the error says that a file cannot be written, which may change while the process lives."""
    if isinstance(error, sqlite3.Error):
        return (getattr(error, "sqlite_errorcode", 0) & 0xFF) in UNWRITABLE_CODES
    return isinstance(error, OSError) and error.errno in UNWRITABLE_ERRNOS


def _because(error: Exception, reason: OSError | None) -> str:
    return "" if reason is None or reason is error else f" ({reason.strerror})"


def _read_epoch(connection: sqlite3.Connection) -> int:
    return int(connection.execute("SELECT epoch FROM writer").fetchone()[0])
