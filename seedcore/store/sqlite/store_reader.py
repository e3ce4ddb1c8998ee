"""Reads a store's items from its file, in processes that are not its writer."""

import os
import sqlite3
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import quote

from seedcore.errors import ItemDamagedError, StoreUnavailableError
from seedcore.store.files import array_files, store_files
from seedcore.store.files.array_files import Encoded
from seedcore.store.sqlite.database import MACHINE_CLOCKS
from seedcore.store.sqlite.item_store import MAX_VALUE_BYTES, read_item, read_items
from seedcore.store.sqlite.store_clock import StoreClock, this_boot

BUSY_TIMEOUT_S: Final = 0.02  # readers wait for nobody but a new writer that reads the log of a dead one
CACHE_KIB: Final = 16 * 1024  # page cache of each thread's connection; SQLite empties it after each write


class StoreLocation(NamedTuple):
    """What tells a store from every other one, in any process of the machine.

    Args:
        file: its path below `STATE_DIR`.
        boot_id: of the machine's present start; containers of one machine share it.
        device: of the file, as `os.stat` says.
        inode: likewise.
        keeps_uses: whether the store's writer wants to know which items were read.
    """

    file: str
    boot_id: str
    device: int
    inode: int
    keeps_uses: bool


class StoreReader:
    """The items of one file that another process writes. Threads may share it; each has its own connection.

    SQLite in WAL mode lets other processes read while the writer writes, and each read sees all that was committed
    before it began: https://www.sqlite.org/wal.html#concurrency. The file may be on a read-only mount.

    Args:
        path: the file.
        identity: of the file, as `store_files.identity` tells it; another file in its place is not read.
    """

    def __init__(self, path: Path, identity: tuple[int, int]) -> None:
        self.path = path
        self._path = str(path)  # which is quicker to look at
        self._device, self._inode = identity
        self._of_thread = threading.local()

    @classmethod
    def at(cls, location: StoreLocation, state_dir: Path) -> "StoreReader | None":
        """The reader of a store, or None where this process does not see the same file."""
        path = state_dir / location.file
        identity = (location.device, location.inode)
        if location.boot_id != this_boot() or store_files.identity(path) != identity:
            return None
        return cls(path, identity)

    def get(self, owner: str, item_id: str, max_bytes: int = MAX_VALUE_BYTES) -> Encoded | None:
        """The value of an item; None if there is none, it has expired, or more bytes than `max_bytes` must be read.

        Raises:
            StoreUnavailableError: as `get_many`.
        """
        try:
            connection, clock = self._connection()
            value = read_item(connection, self.path, owner, item_id, clock, max_bytes)
            if value is None or not array_files.is_reference(value):
                return value
        except (sqlite3.Error, OSError, ItemDamagedError) as error:
            raise self._unreadable(error) from error
        return (self.get_many(owner, [item_id], max_bytes) or {}).get(item_id)

    def get_many(
        self, owner: str, item_ids: Sequence[str], max_bytes: int = MAX_VALUE_BYTES
    ) -> dict[str, Encoded] | None:
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
        found, is_one_too_large = self._load(owner, item_ids, max_bytes)
        return None if is_one_too_large else found

    def get_small(self, owner: str, item_ids: Sequence[str], max_bytes: int) -> dict[str, Encoded]:
        """`get_many` without the items of which more bytes than `max_bytes` must be read."""
        found, _ = self._load(owner, item_ids, max_bytes)
        return found

    def _load(self, owner: str, item_ids: Sequence[str], max_bytes: int) -> tuple[dict[str, Encoded], bool]:
        is_one_too_large = False

        def read() -> dict[str, bytes]:
            nonlocal is_one_too_large
            connection, clock = self._connection()
            connection.execute("BEGIN")  # one snapshot, and its locks are taken once
            try:
                found, is_one_too_large = read_items(connection, self.path, owner, item_ids, clock, max_bytes)
            finally:
                connection.execute("COMMIT")
            quick = {item_id: value for item_id, value in found.items() if _is_quick(value, max_bytes)}
            is_one_too_large |= len(quick) < len(found)
            return quick

        try:
            return array_files.load(self.path, read), is_one_too_large
        except (sqlite3.Error, OSError, ItemDamagedError) as error:
            raise self._unreadable(error) from error

    def _unreadable(self, error: Exception) -> StoreUnavailableError:
        self._of_thread.__dict__.clear()  # the next read opens the file anew
        return StoreUnavailableError(f"cannot read {self.path}: {error}")

    def _connection(self) -> tuple[sqlite3.Connection, StoreClock]:
        found = os.stat(self._path)  # noqa: PTH116 - in each read, and pathlib takes twice as long
        if found.st_ino != self._inode or found.st_dev != self._device:
            raise StoreUnavailableError(f"another file has taken the place of {self.path}")
        opened: tuple[sqlite3.Connection, StoreClock] | None = getattr(self._of_thread, "opened", None)
        if opened is None:
            connection = sqlite3.connect(
                f"file:{quote(str(self.path))}?mode=ro",
                uri=True,
                isolation_level=None,
                timeout=BUSY_TIMEOUT_S,
                check_same_thread=False,  # one thread uses it, but whichever ends last closes it
            )
            connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
            opened = self._of_thread.opened = (connection, StoreClock(connection, MACHINE_CLOCKS))
        return opened


def _is_quick(value: bytes, max_bytes: int) -> bool:
    """Whether no more bytes than that must be read to have the arrays of a value, if it refers to any."""
    if not array_files.is_reference(value):
        return True
    return array_files.value_bytes(value) <= max_bytes or array_files.is_quick(value)
