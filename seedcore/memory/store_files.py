"""The files of one store, and how one store takes the place of another."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from tenacity import RetryError, Retrying, retry_if_exception_type, stop_after_delay, wait_fixed

from seedcore.errors import StoreUnavailableError

LOCK_DEADLINE_S: Final = 60.0  # how long to wait for another process that opens, salvages or restores
LOCK_BACKOFF_S: Final = 0.01
PROBE_BYTES: Final = 64 * 1024  # more than a small write needs
COMPANIONS: Final = ("-wal", "-shm")  # what SQLite puts beside a file, in the order in which it is moved away


def companion(path: Path, suffix: str) -> Path:
    """A file beside the store whose name starts with the store's."""
    return path.with_name(path.name + suffix)


@contextmanager
def locked(path: Path) -> Iterator[int]:
    """Keep every other process from opening or replacing the store; yields the lock file.

    Raises:
        StoreUnavailableError: another process holds the lock for too long.
        OSError: the lock file cannot be made.
    """
    lock = companion(path, ".lock")
    file = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            Retrying(
                retry=retry_if_exception_type(BlockingIOError),
                stop=stop_after_delay(LOCK_DEADLINE_S),
                wait=wait_fixed(LOCK_BACKOFF_S),
            )(fcntl.flock, file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except RetryError as error:
            raise StoreUnavailableError(
                f"cannot open {path}: another process has locked {lock} for {LOCK_DEADLINE_S:g} s, since it opens, "
                "salvages or restores the store; wait for it, or find it with `fuser` and stop it"
            ) from error
        yield file
    finally:
        os.close(file)


def find_unwritable(path: Path) -> OSError | None:
    """Why the store's files cannot grow now; SQLite does not tell the operating system's reason."""
    probe = companion(path, ".probe")
    end = max(size_of(companion(path, suffix)) for suffix in ("", "-wal"))
    try:
        file = os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            os.pwrite(file, bytes(PROBE_BYTES), max(0, end))
            os.pwrite(file, bytes(1), max(0, end) + PROBE_BYTES)  # the one before may have ended at the limit
        finally:
            os.close(file)
            probe.unlink()
    except OSError as error:
        return error
    return None


def size_of(path: Path) -> int:
    """Bytes in the file; -1 when there is none."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return -1


def had_content(lock: int) -> bool:
    """Whether a store was ever made here."""
    return os.fstat(lock).st_size > 0


def remember_content(lock: int) -> None:
    """Note that a store was made here, so that an empty file can be told from a new one."""
    if not had_content(lock):
        os.write(lock, b"a store was made here\n")


def identity(path: Path) -> tuple[int, int] | None:
    """What tells the file from another one that took its name; None when there is none."""
    try:
        found = os.stat(path)  # noqa: PTH116 - it is asked in each transaction, and pathlib takes twice as long
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def utc_now() -> str:
    """The time as it stands in names of files."""
    return datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")


def building_path(path: Path) -> Path:
    """Where to build the file that shall take the store's place; what is left of an earlier try is deleted."""
    building = companion(path, ".building")
    for suffix in ("", "-journal", *COMPANIONS):
        companion(building, suffix).unlink(missing_ok=True)
    return building


def replace(path: Path, building: Path, aside: str) -> Path:
    """Put a finished file in the store's place, under `locked`. A process that is killed in here is finished by
    `finish_replacing`.

    Args:
        path: of the store.
        building: the new file, closed.
        aside: what the store that stands there is called afterwards, behind its own name.

    Returns:
        where the old store is now.
    """
    _sync(building)
    building.rename(companion(path, f".next.{aside}"))
    _sync(path.parent)
    return finish_replacing(path) or path


def put(building: Path, destination: Path) -> None:
    """Put a finished file, closed, where no store is in use."""
    _sync(building)
    building.rename(destination)
    _sync(destination.parent)


def finish_replacing(path: Path) -> Path | None:
    """Take the last steps of a `replace`, under `locked`; the path of the old store, or None if there was nothing."""
    prefix = f"{path.name}.next."
    for following in sorted(path.parent.glob(f"{prefix}*")):
        old = companion(path, "." + following.name.removeprefix(prefix))
        # The main file first: from there on its old writer sees that it is fenced.
        for suffix in ("", *COMPANIONS):
            if not companion(old, suffix).exists():
                with suppress(FileNotFoundError):
                    companion(path, suffix).rename(companion(old, suffix))
        following.rename(path)
        _sync(path.parent)
        return old
    return None


def _sync(path: Path) -> None:
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)
