"""Lets a test run alone among those of several workers of pytest-xdist."""

import fcntl
import os
import tempfile
from pathlib import Path
from typing import IO, Final

RUN: Final = "PYTEST_XDIST_TESTRUNUID"  # the same in all workers of a run


class Room:
    """Where tests run: many at a time, or one alone.

    Args:
        folder: for the lock files, which all workers see.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        # Whoever waits for an empty room holds the door, or there would always be somebody in it.
        self._door: IO[str] = (folder / "door").open("w")
        self._room: IO[str] = (folder / "room").open("w")
        self._is_in = False

    def enter(self, *, alone: bool) -> None:
        """Wait until there is room. Does nothing for who is in already."""
        if not self._is_in:
            fcntl.flock(self._door, fcntl.LOCK_EX)
            fcntl.flock(self._room, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
            fcntl.flock(self._door, fcntl.LOCK_UN)
            self._is_in = True

    def leave(self) -> None:
        """Make room for others."""
        fcntl.flock(self._room, fcntl.LOCK_UN)
        self._is_in = False


def room_of_this_run() -> Room | None:
    """None without several workers."""
    run = os.environ.get(RUN)
    return Room(Path(tempfile.gettempdir(), f"seedcore-tests-{run}")) if run else None
