"""Items in SQLite: values by owner and item id, with time to live and, for a cache, bounds."""

import logging
import math
import sqlite3
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from itertools import count
from pathlib import Path
from typing import Final

import xxhash

from seedcore.errors import ItemDamagedError, StoreUnavailableError
from seedcore.settings import Synchronous
from seedcore.store.files import array_files, store_files, tables
from seedcore.store.files.checksums import checksum
from seedcore.store.sqlite.database import Database

logger = logging.getLogger(__name__)

ITEMS_PER_QUERY: Final = 500  # a few hundred are as quick as thousands; SQLite takes 32,766 parameters at most
MAX_VALUE_BYTES: Final = 2**31  # more than SQLite can hold in one
TOO_LARGE: Final = b"more bytes than may be read"  # told apart by its identity
# Where only the length is asked for, SQLite does not read the value.
VALUE: Final = "CASE WHEN length(value) <= ?1 THEN value END"
# First where the item is likely to be, then by the index; in one query, which takes half as long as two.
BY_INDEX: Final = f"SELECT {VALUE}, expires_at, checksum FROM items WHERE owner = ?2 AND item_id = ?3"
ONE_ITEM: Final = f"{BY_INDEX} AND rowid = ?4 UNION ALL {BY_INDEX} LIMIT 1"
SET_ITEM: Final = """
    INSERT INTO items (rowid, owner, item_id, value, expires_at, used, checksum) VALUES (?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (owner, item_id) DO UPDATE SET
    value = excluded.value, expires_at = excluded.expires_at, used = excluded.used, checksum = excluded.checksum"""
MAX_UNSAVED_USES: Final = 10_000  # reads whose recency is held in memory before it is written


@dataclass(frozen=True)
class Bounds:
    """How much a cache keeps before the least recently used items go."""

    max_items: int
    max_bytes: int


def likely_row_id(owner: str, item_id: str) -> int:
    """Where an item is in the table, unless another item was there first, or the file is of an older version.

    To look there takes one search, as long for a million items as for a thousand. By the index it takes two, and with a
    million items each reads a page from the file. Positive, and so small that SQLite finds free numbers above it.
    """
    return (xxhash.xxh3_64_intdigest(f"{owner}\0{item_id}".encode()) >> 2) + 1


def read_item(
    connection: sqlite3.Connection,
    path: Path,
    owner: str,
    item_id: str,
    max_bytes: int = MAX_VALUE_BYTES,
    clock: Callable[[], float] = time.time,
) -> bytes | None:
    """`read_items` for one item, in half the time; `TOO_LARGE` itself for a value that has more bytes."""
    row = connection.execute(ONE_ITEM, (max_bytes, owner, item_id, likely_row_id(owner, item_id))).fetchone()
    if row is None:
        return None
    value: bytes
    value, expires_at, kept = row
    if value is None:
        return TOO_LARGE
    if checksum(owner, item_id, value, expires_at) != kept:
        raise _damaged(item_id, path)
    return value if expires_at is None or expires_at > clock() else None


def read_items(
    connection: sqlite3.Connection,
    path: Path,
    owner: str,
    item_ids: Sequence[str],
    max_bytes: int = MAX_VALUE_BYTES,
    clock: Callable[[], float] = time.time,
) -> tuple[dict[str, bytes], bool]:
    """The values of those items that exist and have not expired.

    Args:
        connection: to read the file with.
        path: of the file, for messages.
        owner: whose items.
        item_ids: each once.
        max_bytes: of a value.
        clock: seconds since the epoch.

    Returns:
        The values by item id without those that have more bytes than `max_bytes`, and whether there are such.

    Raises:
        ItemDamagedError: one of them is not as it was written.
    """
    found = {}
    is_one_too_large = False
    for start in range(0, len(item_ids), ITEMS_PER_QUERY):
        some = item_ids[start : start + ITEMS_PER_QUERY]
        # All rows at once: a query that is not read to its end keeps its snapshot, and later reads would see that.
        rows = connection.execute(_many_items(len(some)), (max_bytes, owner, *some)).fetchall()
        for item_id, value, expires_at, kept in rows:
            if value is None:
                is_one_too_large = True
                continue
            if checksum(owner, item_id, value, expires_at) != kept:
                raise _damaged(item_id, path)
            if expires_at is None or expires_at > clock():
                found[item_id] = value
    return {item_id: found[item_id] for item_id in item_ids if item_id in found}, is_one_too_large


@cache
def _many_items(number: int) -> str:
    return (
        f"SELECT item_id, {VALUE}, expires_at, checksum FROM items "
        f"WHERE owner = ?2 AND item_id IN ({', '.join('?' * number)})"
    )


def _damaged(item_id: str, path: Path) -> ItemDamagedError:
    return ItemDamagedError(
        f"item {item_id!r} in {path} is not as it was written: the disk changed it. "
        "Set it anew or delete it, or bring a backup back with `make restore`"
    )


class ItemStore:
    """The items of one database file.

    Reads run on the read connection. Writes take the connection of an open transaction, so that a caller can put
    several into one.

    A value may be a reference to a file of arrays; see `array_files`. That file is removed when the item goes.

    Args:
        path: the SQLite file.
        synchronous: `SQLITE_SYNCHRONOUS`.
        bounds: keep within these by evicting the least recently used; None keeps everything.
        clock: seconds since the epoch; what a time to live is measured by.
    """

    def __init__(
        self,
        path: Path,
        synchronous: Synchronous,
        bounds: Bounds | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.database = Database(path, tables.ITEM_SCHEMA, synchronous)
        self._now = clock
        self._bounds = bounds
        with self.database.reading() as connection:
            last_use = connection.execute("SELECT max(used) FROM items WHERE used IS NOT NULL").fetchone()[0]
        self._use = count((last_use or 0) + 1)
        self._next_expiry = -math.inf  # no item expires before it
        self._epoch_of_expiry = self.database.epoch
        self._unsaved_uses: dict[tuple[str, str], int] = {}
        self._remover = ThreadPoolExecutor(max_workers=1, thread_name_prefix="remover")  # 100 MB take 15 ms
        self._swept_at = -array_files.UNREFERENCED_S
        self._has_files = store_files.companion(path, store_files.ARRAYS).exists()
        if self._has_files and self.database.is_writable:
            with self.database.transaction() as connection:
                self._sweep(connection)

    @property
    def has_unsaved_uses(self) -> bool:
        """Whether so many reads have happened that their recency should be written."""
        return len(self._unsaved_uses) >= MAX_UNSAVED_USES

    def get_many(self, owner: str, item_ids: Iterable[str]) -> dict[str, bytes]:
        """The values of those items that exist and have not expired.

        Raises:
            ItemDamagedError: one of them is not as it was written.
        """
        with self.database.reading() as connection:
            found, _ = read_items(connection, self.database.path, owner, list(item_ids), clock=self._now)
        if self._bounds:
            self.note_uses(owner, found)
        return found

    def note_uses(self, owner: str, item_ids: Iterable[str]) -> None:
        """Count the items as used now. It is written down later; see `save_uses`."""
        for item_id in item_ids:
            self._unsaved_uses[owner, item_id] = next(self._use)

    def set_many(
        self, connection: sqlite3.Connection, owner: str, items: Mapping[str, bytes], ttl_s: float | None
    ) -> None:
        """Store the values; each replaces what its item held, time to live included."""
        self.delete_expired(connection)
        expires_at = None if ttl_s is None else float(self._now() + ttl_s)
        if expires_at is not None:
            self.database.after_commit(lambda: self._expect_expiry(min(self._next_expiry, expires_at)))
        rows = [
            (
                likely_row_id(owner, item_id),
                owner,
                item_id,
                value,
                expires_at,
                self._next_use(),
                checksum(owner, item_id, value, expires_at),
            )
            for item_id, value in items.items()
        ]
        try:
            connection.executemany(SET_ITEM, rows)
        except sqlite3.IntegrityError:  # another item is where one of these should be
            connection.executemany(SET_ITEM, [(None, *row[1:]) for row in rows])
        if self._bounds:
            self._evict(connection, self._bounds)
        if any(value[:1] == array_files.MARK for value in items.values()):
            self._has_files = True
            self._sweep(connection)
        self._remove_files(connection)

    def delete_many(self, connection: sqlite3.Connection, owner: str, item_ids: Iterable[str]) -> list[str]:
        """Delete the items and return the ids of those that existed."""
        self.delete_expired(connection)
        deleted = [
            item_id
            for item_id in dict.fromkeys(item_ids)
            if connection.execute("DELETE FROM items WHERE owner = ? AND item_id = ?", (owner, item_id)).rowcount
        ]
        self._remove_files(connection)
        return deleted

    def delete_expired(self, connection: sqlite3.Connection) -> None:
        """Delete what has outlived its time; reads never see it anyway. A time that the disk changed does not count."""
        now = self._now()
        if now < self._next_expiry and self._epoch_of_expiry == self.database.epoch:
            return
        expired = connection.execute(
            "DELETE FROM items WHERE expires_at <= ? AND checksum = checksum(owner, item_id, value, expires_at)", (now,)
        ).rowcount
        (earliest,) = connection.execute("SELECT min(expires_at) FROM items WHERE expires_at IS NOT NULL").fetchone()
        self.database.after_commit(partial(self._expect_expiry, math.inf if earliest is None else earliest))
        if expired:
            connection.execute("UPDATE totals SET expirations = expirations + ?", (expired,))
            self._remove_files(connection)

    def _expect_expiry(self, earliest: float) -> None:
        self._next_expiry, self._epoch_of_expiry = earliest, self.database.epoch

    def save_uses(self, connection: sqlite3.Connection) -> None:
        """Write down which items were read since the last time."""
        uses = self._unsaved_uses.copy()
        connection.executemany(
            # Not over a later use, which a write is.
            "UPDATE items SET used = ?1 WHERE owner = ?2 AND item_id = ?3 AND ifnull(used, 0) < ?1",
            ((use, owner, item_id) for (owner, item_id), use in uses.items()),
        )
        self.database.after_commit(lambda: self._forget_saved(uses))

    def _forget_saved(self, uses: Mapping[tuple[str, str], int]) -> None:
        for key, saved in uses.items():
            use = self._unsaved_uses.pop(key, saved)
            if use != saved:  # read again meanwhile, on another thread
                self._unsaved_uses.setdefault(key, use)

    def stats(self) -> dict[str, int]:
        """Items, bytes of their values, and the evictions and expirations since the file was made."""
        with self.database.reading() as connection:
            items, size, evictions, expirations = connection.execute(
                "SELECT items, bytes, evictions, expirations FROM totals"
            ).fetchone()
        salvages = self.database.salvage_stats()
        return {"items": items, "bytes": size, "evictions": evictions, "expirations": expirations, **salvages}

    def _next_use(self) -> int | None:
        return next(self._use) if self._bounds else None

    def _evict(self, connection: sqlite3.Connection, bounds: Bounds) -> None:
        items, size = connection.execute("SELECT items, bytes FROM totals").fetchone()
        if items <= bounds.max_items and size <= bounds.max_bytes:
            return
        self.save_uses(connection)
        victims = []
        for row_id, length in connection.execute(tables.SIZES_BY_USE):
            if items <= bounds.max_items and size <= bounds.max_bytes:
                break
            victims.append((row_id,))
            items, size = items - 1, size - length
        connection.executemany("DELETE FROM items WHERE rowid = ?", victims)
        connection.execute("UPDATE totals SET evictions = evictions + ?", (len(victims),))

    def _remove_files(self, connection: sqlite3.Connection) -> None:
        """Remove, once the transaction is committed, the files of those items that went in it."""
        if not self._has_files:
            return
        gone = connection.execute("DELETE FROM gone_files RETURNING name")
        self._remove_after_commit([bytes(name).decode(errors="replace") for (name,) in gone])

    def _sweep(self, connection: sqlite3.Connection) -> None:
        """Remove the files of writes that never came, and those that a process has let go just before its end."""
        now = time.monotonic()
        if now - self._swept_at < array_files.UNREFERENCED_S:
            return
        self._swept_at = now
        candidates = array_files.abandoned(self.database.path)
        self._remove_after_commit(
            [name for name in candidates if connection.execute(tables.REFERS, (name.encode(),)).fetchone() is None]
        )

    def _remove_after_commit(self, names: Sequence[str]) -> None:
        if names:
            self.database.after_commit(partial(self._remover.submit, self._remove, names))

    def _remove(self, names: Sequence[str]) -> None:
        path = self.database.path
        try:
            # After a restore they may be those of the store that has taken this one's place.
            with store_files.locked(path):
                if store_files.identity(path) == self.database.identity:
                    array_files.remove(path, names)
        except (OSError, StoreUnavailableError) as error:
            logger.warning("cannot remove arrays that no item of %s refers to: %s", path, error)
