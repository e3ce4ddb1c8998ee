"""Reads a store from its file, in processes that are not its writer."""

import os
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from enum import Enum
from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple

from seedcore.errors import ItemDamagedError, StoreUnavailableError
from seedcore.store.engine import HotItem
from seedcore.store.files import array_files, store_files
from seedcore.store.files.connection import open_connection
from seedcore.store.sqlite.database import Database
from seedcore.store.sqlite.item_store import MAX_VALUE_BYTES, TOO_LARGE, read_item, read_items
from seedcore.store.sqlite.miss_store import read_top
from seedcore.store.values.codec import Encoded

BOOT_ID_FILE: Final = Path("/proc/sys/kernel/random/boot_id")
BUSY_TIMEOUT_S: Final = 0.02  # readers wait for nobody but a new writer that reads the log of a dead one


@cache
def this_boot() -> str:
    """What tells this start of the machine from others; the containers of a machine share it."""
    try:
        return BOOT_ID_FILE.read_text().strip()
    except OSError:  # not Linux, where each process asks its actors
        return str(os.getpid())


class StoreLocation(NamedTuple):
    """What tells a store from every other one, in any process of the machine.

    Args:
        file: its path below `STATE_DIR`.
        boot_id: of the machine's present start; containers of one machine share it.
        device: of the file, as `os.stat` says.
        inode: likewise.
    """

    file: str
    boot_id: str
    device: int
    inode: int


def locate(database: Database, state_dir: Path) -> StoreLocation | None:
    """Where a store is, for processes that see its file and can read it; None while it cannot be written."""
    if database.identity is None:
        return None
    return StoreLocation(str(database.path.relative_to(state_dir)), this_boot(), *database.identity)


class Unread(Enum):
    """Stands for an item of which the file does not tell."""

    ASK = "its actor does"


class StoreReader:
    """One file that another process writes, of items or of misses. Threads may share it; each has its own connection.

    SQLite in WAL mode lets other processes read while the writer writes, and each read sees all that was committed
    before it began: https://www.sqlite.org/wal.html#concurrency. The file may be on a read-only mount.

    Args:
        path: the file.
        identity: of the file, as `store_files.identity` tells it; another file in its place is not read.
        clock: seconds since the epoch.
    """

    def __init__(self, path: Path, identity: tuple[int, int], clock: Callable[[], float] = time.time) -> None:
        self.path = path
        self._path = str(path)  # which is quicker to look at
        self._device, self._inode = identity
        self._clock = clock
        self._of_thread = threading.local()

    @classmethod
    def at(cls, told: Sequence[Any] | None, state_dir: Path) -> "StoreReader | None":
        """The reader of a store, or None where it cannot be read or this process does not see the same file.

        Args:
            told: what `locate` said in the writer's process; it may have become a list on its way.
            state_dir: where this process would see the file.
        """
        if told is None:
            return None
        location = StoreLocation(*told)
        path = state_dir / location.file
        identity = (location.device, location.inode)
        if location.boot_id != this_boot() or store_files.identity(path) != identity:
            return None
        return cls(path, identity)

    def get(self, owner: str, item_id: str, max_bytes: int | None = None) -> Encoded | Unread | None:
        """The value of an item; None if there is none, or it has expired.

        Args:
            owner: whose item.
            item_id: which.
            max_bytes: that may be read; of a value with more the answer is `ASK`. None reads any.

        Raises:
            StoreUnavailableError: as `get_many`.
        """
        try:
            value = read_item(self._connection(), self.path, owner, item_id, max_bytes or MAX_VALUE_BYTES, self._clock)
        except (sqlite3.Error, OSError, ItemDamagedError) as error:
            raise self._unreadable(error) from error
        if value is TOO_LARGE:
            return Unread.ASK
        if value is None or value[:1] != array_files.MARK:
            return value
        found = self.get_many(owner, [item_id], max_bytes)
        return Unread.ASK if found is None else found.get(item_id)

    def get_many(self, owner: str, item_ids: Sequence[str], max_bytes: int | None = None) -> dict[str, Encoded] | None:
        """The values of those items that exist and have not expired.

        Args:
            owner: whose items.
            item_ids: each once.
            max_bytes: that may be read of a value. Of large arrays nothing is read, once this process has checked them.

        Returns:
            The values by item id, or None if of one of them more bytes than `max_bytes` must be read.

        Raises:
            StoreUnavailableError: the file cannot be read now, another one has taken its place, or an item in it is
                damaged. Its writer knows more.
        """
        most = max_bytes or MAX_VALUE_BYTES
        is_one_too_large = False

        def read() -> dict[str, bytes]:
            nonlocal is_one_too_large
            connection = self._connection()
            connection.execute("BEGIN")  # one snapshot, and its locks are taken once
            try:
                found, is_one_too_large = read_items(connection, self.path, owner, item_ids, most, self._clock)
            finally:
                connection.execute("COMMIT")
            if not all(_is_quick(value, most) for value in found.values() if value[:1] == array_files.MARK):
                is_one_too_large = True
                return {}
            return found

        try:
            found = array_files.load(self.path, read)
        except (sqlite3.Error, OSError, ItemDamagedError) as error:
            raise self._unreadable(error) from error
        return None if is_one_too_large else found

    def top(self, number: int) -> list[HotItem]:
        """The most missed items, as `read_top`.

        Raises:
            StoreUnavailableError: as `get_many`.
        """
        try:
            return read_top(self._connection(), self.path, number)
        except (sqlite3.Error, OSError) as error:
            raise self._unreadable(error) from error

    def _unreadable(self, error: Exception) -> StoreUnavailableError:
        self._of_thread.__dict__.clear()  # the next read opens the file anew
        return StoreUnavailableError(f"cannot read {self.path}: {error}")

    def _connection(self) -> sqlite3.Connection:
        found = os.stat(self._path)  # noqa: PTH116 - in each read, and pathlib takes twice as long
        if found.st_ino != self._inode or found.st_dev != self._device:
            raise StoreUnavailableError(f"another file has taken the place of {self.path}")
        connection: sqlite3.Connection | None = getattr(self._of_thread, "connection", None)
        if connection is None:
            connection = self._of_thread.connection = open_connection(
                self.path, "ro", is_in_use=True, busy_timeout_s=BUSY_TIMEOUT_S
            )
        return connection


def _is_quick(value: bytes, max_bytes: int) -> bool:
    """Whether no more bytes than that must be read to have the arrays that a value refers to."""
    return array_files.value_bytes(value) <= max_bytes or array_files.is_quick(value)
