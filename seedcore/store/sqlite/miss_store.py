"""Counts misses in SQLite within a bound, by the Space-Saving algorithm.

Metwally, Agrawal, El Abbadi: Efficient Computation of Frequent and Top-k Elements in Data Streams, ICDT 2005. When
all counters are taken, a new item takes over the smallest one and its count. So a count is at most `overcount` too
high, and every item that was missed more than total / max_items times is among the counters. `highest_dropped` keeps
that true when the bound is raised: an item without a counter may have been missed as often as that.
"""

import logging
import sqlite3
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path

from seedcore.settings import Synchronous
from seedcore.store.engine import HotItem
from seedcore.store.files import tables
from seedcore.store.files.checksums import checksum
from seedcore.store.sqlite.database import Database

logger = logging.getLogger(__name__)


def read_top(connection: sqlite3.Connection, path: Path, number: int) -> list[HotItem]:
    """The most missed items of a file, most missed first; ties in the order of their ids."""
    rows = connection.execute("SELECT item_id, misses, overcount, checksum FROM misses ORDER BY misses DESC, item_id")
    return list(islice((HotItem(*row[:3]) for row in rows if _is_right(path, *row)), number))


def _is_right(path: Path, item_id: str, misses: int, overcount: int, kept: int) -> bool:
    """Whether a counter is as it was written; one that is not is no loss beside a wrong one."""
    if checksum(item_id, misses, overcount) == kept:
        return True
    logger.error("%s: the disk changed the miss counter of %r; it is dropped", path, item_id)
    return False


class MissStore:
    """The miss counters of one database file.

    Args:
        path: the SQLite file.
        synchronous: `SQLITE_SYNCHRONOUS`.
        max_items: how many items are counted at a time.
    """

    def __init__(self, path: Path, synchronous: Synchronous, max_items: int) -> None:
        self.database = Database(path, tables.MISS_SCHEMA, synchronous)
        self._max_items = max_items

    def record(self, connection: sqlite3.Connection, misses: Mapping[str, int]) -> None:
        """Add misses by item id, inside an open transaction."""
        items, total, evictions, highest_dropped = connection.execute(
            "SELECT items, misses, evictions, highest_dropped FROM totals"
        ).fetchone()
        for item_id, times in misses.items():
            total += times
            counter = connection.execute(
                "SELECT misses, overcount, checksum FROM misses WHERE item_id = ?", (item_id,)
            ).fetchone()
            if counter is not None and _is_right(self.database.path, item_id, *counter):
                count, overcount, _ = counter
                connection.execute(
                    "UPDATE misses SET misses = ?, checksum = ? WHERE item_id = ?",
                    (count + times, checksum(item_id, count + times, overcount), item_id),
                )
                continue
            if counter is not None:
                connection.execute("DELETE FROM misses WHERE item_id = ?", (item_id,))
                items -= 1
            surplus = items + 1 - self._max_items
            if surplus > 0:
                highest_dropped = max(highest_dropped, self._drop_smallest(connection, surplus))
                evictions += surplus
                items -= surplus
            new = (item_id, highest_dropped + times, highest_dropped)
            connection.execute("INSERT INTO misses VALUES (?, ?, ?, ?)", (*new, checksum(*new)))
            items += 1
        connection.execute(
            "UPDATE totals SET items = ?, misses = ?, evictions = ?, highest_dropped = ?",
            (items, total, evictions, highest_dropped),
        )

    def put(self, connection: sqlite3.Connection, counters: Sequence[HotItem]) -> None:
        """Put counters of another engine into an empty file, inside an open transaction."""
        rows = [(*counter, checksum(*counter)) for counter in counters]
        connection.executemany("INSERT INTO misses VALUES (?, ?, ?, ?)", rows)
        dropped = max((counter.overcount for counter in counters), default=0)
        total = sum(counter.misses - counter.overcount for counter in counters)
        connection.execute(
            "UPDATE totals SET items = ?, misses = ?, highest_dropped = ?", (len(counters), total, dropped)
        )

    @staticmethod
    def _drop_smallest(connection: sqlite3.Connection, number: int) -> int:
        rows = connection.execute("SELECT rowid, misses FROM misses ORDER BY misses LIMIT ?", (number,)).fetchall()
        connection.executemany("DELETE FROM misses WHERE rowid = ?", [(row_id,) for row_id, _ in rows])
        return int(rows[-1][1])

    def top(self, number: int) -> list[HotItem]:
        """As `read_top`."""
        with self.database.reading() as connection:
            return read_top(connection, self.database.path, number)

    def stats(self) -> dict[str, int]:
        """Items counted now, all misses ever recorded, and how many items lost their counter to another."""
        with self.database.reading() as connection:
            items, misses, evictions = connection.execute("SELECT items, misses, evictions FROM totals").fetchone()
        return {"items": items, "misses": misses, "evictions": evictions, **self.database.salvage_stats()}
