"""Compares the indexes of a large file with its rows while it is in use, which takes SQLite 5 s for a million rows."""

import logging
import sqlite3
import threading
from contextlib import closing, suppress
from pathlib import Path
from typing import Final

from seedcore.errors import StoreUnavailableError
from seedcore.store.files import checksums, store_files
from seedcore.store.files.connection import open_connection

logger = logging.getLogger(__name__)

AT_ONCE_BYTES: Final = 32 * 1024**2  # a file up to this size is looked through as a whole before it is used: 1.5 s
MAX_LOG_BYTES: Final = 256 * 1024**2  # four times what is left of a log that is cut
LOOK_AGAIN_S: Final = 1.0  # whether it was
TRIES: Final = 3
STEPS_BETWEEN_LOOKS: Final = 100_000  # of SQLite's machine, some milliseconds


def is_checked_at_once(path: Path) -> bool:
    """Whether the file is small enough to be looked through as a whole before it is used."""
    return store_files.size_of(path) <= AT_ONCE_BYTES


def find_damage(connection: sqlite3.Connection, is_whole: bool) -> str | None:
    """What SQLite finds wrong with the file it has open.

    Args:
        connection: to the file.
        is_whole: compare the indexes with the rows too; else each page and row is read, in a tenth of the time.
    """
    found = [row[0] for row in connection.execute(f"PRAGMA {'integrity' if is_whole else 'quick'}_check(3)")]
    return None if found == ["ok"] else "; ".join(found)


def noted_damage(path: Path) -> str | None:
    """What an `IndexCheck` of an earlier process found in this file."""
    with suppress(FileNotFoundError):
        return store_files.companion(path, store_files.DAMAGE).read_text()
    return None


class IndexCheck:
    """Looks through the whole of a large file in a thread, once; what it finds is noted beside the file, so that the
    next process that opens it salvages.

    It reads one snapshot, so the log grows meanwhile: beyond a bound the check lets it be cut, and begins again.

    Args:
        path: of a store that this process has just opened, under `store_files.locked`.
    """

    def __init__(self, path: Path) -> None:
        self.damage: str | None = None
        self._path = path
        self._identity = store_files.identity(path)
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None
        if not is_checked_at_once(path):
            connection = open_connection(path, "ro")
            connection.set_progress_handler(lambda: self._is_closed or self._is_log_long(), STEPS_BETWEEN_LOOKS)
            self._thread = threading.Thread(target=self._run, args=(connection,), name="index check", daemon=True)
            self._thread.start()

    @property
    def _is_closed(self) -> bool:
        return self._closing.is_set()

    def wait(self) -> None:
        """Until it has ended."""
        if self._thread is not None:
            self._thread.join()

    def close(self) -> None:
        """End it, finished or not."""
        self._closing.set()
        self.wait()

    def _is_log_long(self) -> bool:
        return store_files.size_of(store_files.companion(self._path, store_files.LOG)) > MAX_LOG_BYTES

    def _run(self, connection: sqlite3.Connection) -> None:
        with closing(connection):
            damage = self._find(connection)
        if damage is not None:
            try:
                self._note(damage)
            except (OSError, StoreUnavailableError) as error:
                logger.warning("cannot note the damage of %s for the next process: %s", self._path, error)
            self.damage = damage

    def _find(self, connection: sqlite3.Connection) -> str | None:
        for _ in range(TRIES):
            try:
                return find_damage(connection, is_whole=True)
            except sqlite3.Error as error:
                if checksums.is_damage(error):
                    return str(error)
                if error.sqlite_errorcode != sqlite3.SQLITE_INTERRUPT:
                    logger.warning("cannot compare the indexes of %s with its rows: %s", self._path, error)
                    return None
            while self._is_log_long():  # whoever writes cuts it
                if self._closing.wait(LOOK_AGAIN_S):
                    return None
        if not self._is_closed:
            logger.info("the indexes of %s are compared when it is next opened: too much is written now", self._path)
        return None

    def _note(self, damage: str) -> None:
        with store_files.locked(self._path):
            if store_files.identity(self._path) == self._identity:  # else another file has taken its place
                store_files.companion(self._path, store_files.DAMAGE).write_text(damage)
