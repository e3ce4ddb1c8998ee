"""A store's own time, which goes on when the machine's wall clock is set back."""

import logging
import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from seedcore.store.files.checksums import checksum

logger = logging.getLogger(__name__)

SAVE_EVERY_S: Final = 1.0  # how often the time is written down, in the transactions that there are
BOOT_ID_FILE: Final = Path("/proc/sys/kernel/random/boot_id")

# Columns of the table `writer`; their checksum keeps a damaged time from making every item expire.
COLUMNS: Final = (
    "ALTER TABLE writer ADD COLUMN time_seen REAL",
    "ALTER TABLE writer ADD COLUMN clock_offset REAL",
    "ALTER TABLE writer ADD COLUMN boot_id TEXT",
    "ALTER TABLE writer ADD COLUMN clock_checksum INTEGER",
)


def seconds_since_boot() -> float:
    """Never set, and goes on while the machine sleeps; the same in every process of the machine."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


@cache
def this_boot() -> str:
    """What tells this start of the machine from others."""
    try:
        return BOOT_ID_FILE.read_text().strip()
    except OSError:  # not Linux: the second of the start does
        return f"{time.time() - seconds_since_boot():.0f}"


@dataclass(frozen=True)
class MachineClocks:
    """The clocks of the machine.

    Args:
        wall: seconds since the epoch; may be set to anything at any moment.
        since_boot: seconds since the machine was started.
        boot_id: of this start of the machine.
    """

    wall: Callable[[], float] = time.time
    since_boot: Callable[[], float] = seconds_since_boot
    boot_id: Callable[[], str] = this_boot


class StoreClock:
    """The time of one store, in seconds since the epoch: an offset, chosen when the store is opened, and the seconds
    since the machine's start.

    The offset is in the file, so that every process of the machine has the same time. While the machine runs it is
    kept; after a restart of the machine the time is the wall clock's, or the highest one that was written down.

    Args:
        connection: to read the file with.
        clocks: of the machine.
        at_least: no earlier time than this, which a process may have seen already.
    """

    def __init__(self, connection: sqlite3.Connection, clocks: MachineClocks, at_least: float = 0.0) -> None:
        self._clocks = clocks
        row = connection.execute("SELECT time_seen, clock_offset, boot_id, clock_checksum FROM writer").fetchone()
        since_boot = clocks.since_boot()
        now = max(clocks.wall(), at_least)
        if row is not None and row[3] is not None:
            seen, offset, boot_id, kept = row
            if checksum(seen, offset, boot_id) != kept:
                logger.error("the disk changed the store's time; the wall clock's is taken")
            elif boot_id == clocks.boot_id():
                now = max(offset + since_boot, seen, at_least)
            else:
                now = max(now, seen)
        self._offset = now - since_boot
        self._saved = -1.0

    def __call__(self) -> float:
        """The time now."""
        return self._offset + self._clocks.since_boot()

    def save(self, connection: sqlite3.Connection) -> float | None:
        """Write the time down if it is due, inside a transaction; give the result to `saved` after the commit."""
        now = self()
        if now - self._saved < SAVE_EVERY_S:
            return None
        clock = (now, self._offset, self._clocks.boot_id())
        connection.execute(
            "UPDATE writer SET time_seen = ?, clock_offset = ?, boot_id = ?, clock_checksum = ?",
            (*clock, checksum(*clock)),
        )
        return now

    def saved(self, time_seen: float | None) -> None:
        """Note that a `save` was committed."""
        if time_seen is not None:
            self._saved = time_seen
