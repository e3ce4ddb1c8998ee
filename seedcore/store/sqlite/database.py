"""One SQLite file with one writer: opening, schema version, fencing and transactions."""

import errno
import io
import logging
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from itertools import zip_longest
from pathlib import Path
from typing import Final
from urllib.parse import quote

from tenacity import Retrying, retry_if_exception, stop_after_delay, wait_fixed

from seedcore.errors import StoreDamagedError, StoreFencedError, StoreFullError, StoreUnavailableError
from seedcore.settings import Synchronous
from seedcore.store.files import checksums, store_files
from seedcore.store.files.checksums import CheckedTable
from seedcore.store.files.schema import Schema, version_of
from seedcore.store.recovery import salvage
from seedcore.store.recovery.write_ahead_log import cut_leftovers, read_wal
from seedcore.store.sqlite import request_log, store_clock
from seedcore.store.sqlite.store_clock import MachineClocks, StoreClock

logger = logging.getLogger(__name__)

BUSY_TIMEOUT_S: Final = 10.0  # how long a statement waits for another process's lock
LOCKED_BACKOFF_S: Final = 0.01  # between two tries of what SQLite does not wait for
CACHE_KIB: Final = 16 * 1024  # page cache of each connection

MACHINE_CLOCKS: Final = MachineClocks()
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

# What every file has, whatever else is in it: the statements of each schema step.
COMMON_STEPS: Final = (
    ("CREATE TABLE writer (only_row INTEGER PRIMARY KEY CHECK (only_row = 1), epoch INTEGER)",),
    request_log.TABLES,
    (salvage.TABLE,),
    store_clock.COLUMNS,
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
    successor has opened the file cannot commit any more. A file that cannot be written now is opened for reading, and
    each transaction tries to become the writer. A damaged file is set aside, and what can be read of it is in
    the new one.

    Args:
        path: the file; its folder is created.
        schema: its tables; a file of an older version is migrated.
        synchronous: when SQLite waits for the disk.
        clocks: of the machine.

    Raises:
        StoreUnavailableError: the file cannot be opened or was written by a newer version.
    """

    def __init__(
        self, path: Path, schema: Schema, synchronous: Synchronous, clocks: MachineClocks = MACHINE_CLOCKS
    ) -> None:
        self.path = path
        self._schema = schema
        self._synchronous = synchronous
        self._clocks = clocks
        self._clock: StoreClock | None = None
        self._after_commit: list[Callable[[], object]] = []
        self._writer: sqlite3.Connection | None = None
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
        if not is_unwritable(error.__cause__):
            raise error
        self.reader = self._connect_read_only(error)
        self._clock = self._clock or StoreClock(self.reader, self._clocks)

    def _open(self, had_content: bool, salvages: bool) -> sqlite3.Connection:
        with ExitStack() as opened:
            try:
                writer = self._open_file(opened, had_content)
            except StoreDamagedError as error:
                if not salvages:
                    raise
                # While its connection is open: SQLite deletes the log when the last one closes.
                salvage.salvage(self.path, self._schema, str(error))
            else:
                opened.pop_all()  # both connections stay open
                return writer
        return self._open(had_content=True, salvages=False)

    def _open_file(self, opened: ExitStack, had_content: bool) -> sqlite3.Connection:
        with self.explained("open"):
            log = store_files.companion(self.path, "-wal")
            salvage.check_emptied(self.path, had_content)
            writer = self._connect(opened)
            self._schema.check(writer, self.path)  # before anything is written
            writer.execute("BEGIN IMMEDIATE")
            cut_leftovers(log, salvage.check(writer, self.path, self._schema))
            self._schema.migrate(writer)
            writer.execute(
                "INSERT INTO writer (only_row, epoch) VALUES (1, 1) "
                "ON CONFLICT (only_row) DO UPDATE SET epoch = epoch + 1"
            )
            self.epoch = _read_epoch(writer)
            clock = StoreClock(writer, self._clocks, self.now() if self._clock else 0.0)
            time_seen = clock.save(writer)
            request_log.forget_dead_clients(writer, clock())
            writer.execute("COMMIT")
            clock.saved(time_seen)
            cut_leftovers(log, read_wal(log))  # again: with readers alive SQLite may know less of it than is there
            self.identity = store_files.identity(self.path)
            reader = self._connect(opened)
            reader.execute("PRAGMA query_only = ON")
            self._writer, self.reader, self._clock = writer, reader, clock
            return writer

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

    def _connect_read_only(self, error: StoreUnavailableError) -> sqlite3.Connection:
        """The connection of a store that cannot be written now, or the error if it cannot be read either."""
        if store_files.size_of(self.path) <= 0:
            raise error
        log = store_files.companion(self.path, "-wal")
        # Without a log SQLite cannot make one here, and need not.
        options = ("mode=ro", "immutable=1") if store_files.size_of(log) <= 0 else ("mode=ro",)
        for uri in (*(f"file:{quote(str(self.path))}?{option}" for option in options), ":memory:"):
            with suppress(sqlite3.Error, OSError), ExitStack() as opened:
                reader = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False)
                opened.enter_context(closing(reader))
                if uri == ":memory:":  # what a killed process left cannot be read in place without writing
                    copy = io.BytesIO()
                    salvage.write_readable_copy(self.path, read_wal(log), copy)
                    reader.deserialize(copy.getbuffer())
                if version_of(reader) != self._schema.version:
                    raise error  # it would have to be migrated
                salvage.check(reader, self.path, self._schema)
                opened.pop_all()
                return reader
        raise error

    def _check_fence(self, writer: sqlite3.Connection) -> None:
        if store_files.identity(self.path) != self.identity:
            raise StoreFencedError(f"another file has taken the place of {self.path}; its writer of before must stop")
        if _read_epoch(writer) != self.epoch:
            raise StoreFencedError(f"another process has opened {self.path} as its writer; this one must stop")

    @property
    def is_writable(self) -> bool:
        """Whether this process is the writer, as far as it knows."""
        return self._writer is not None

    def now(self) -> float:
        """The store's own time, in seconds since the epoch; it never goes backwards."""
        assert self._clock is not None  # noqa: S101 - set by the constructor
        return self._clock()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """The write connection inside one transaction: committed at the end, rolled back on any error.

        Raises:
            StoreFencedError: another process has become the writer.
            StoreDamagedError: the file itself is broken; the process should end, so that its successor salvages it.
            StoreFullError: the disk is full.
            StoreUnavailableError: the file cannot be written.
        """
        with self.explained("write to"):
            writer = self._writer or self._try_to_become_writer()
            writer.execute("BEGIN IMMEDIATE")
            self._after_commit.clear()
            try:
                self._check_fence(writer)
                yield writer
                time_seen = self._clock.save(writer) if self._clock else None
                writer.execute("COMMIT")
                if self._clock:
                    self._clock.saved(time_seen)
                for action in self._after_commit:
                    action()
            except BaseException:
                if writer.in_transaction:
                    writer.execute("ROLLBACK")
                raise

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
            StoreUnavailableError: the file cannot be read.
        """
        with self.explained("read"), self._reader_in_use:
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
            if salvage.is_damage(error):
                raise StoreDamagedError(f"cannot {verb} {self.path}: {error}") from error
            raise self._unavailable(verb, error) from error

    def _unavailable(self, verb: str, error: Exception) -> StoreUnavailableError:
        tried = f"cannot {verb} {self.path}: {error}"
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
        """Close both connections; the last one to close empties the write-ahead log."""
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
