"""The files of one store, and how one store takes the place of another."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from filelock import FileLock, Timeout

from seedcore.errors import StoreUnavailableError

LOCK_DEADLINE_S: Final = 60.0  # how long to wait for another process that opens, salvages or restores
LOCK_BACKOFF_S: Final = 0.01
NO_LINKS: Final = frozenset({errno.EXDEV, errno.EPERM, errno.EMLINK})  # another disk, or one without hard links
PROBE_BYTES: Final = 64 * 1024  # more than a small write needs
LOG: Final = "-wal"  # the write-ahead log
DAMAGE: Final = "-damage"  # what was found in the file while it was in use
COMPANIONS: Final = (LOG, "-shm", DAMAGE)  # what belongs to one file, in the order in which it is moved away
SOCKET: Final = ".socket"  # at which the actor that keeps the store answers calls
ARRAYS: Final = "-arrays"  # the folder beside a file that has the large arrays of its items


def companion(path: Path, suffix: str) -> Path:
    """A file beside the store whose name starts with the store's."""
    return path.with_name(path.name + suffix)


@contextmanager
def locked(path: Path) -> Iterator[Path]:
    """Keep every other process from opening or replacing the store; yields the lock file.

    Raises:
        StoreUnavailableError: another process holds the lock for too long.
        OSError: the lock file cannot be made.
    """
    lock = companion(path, ".lock")
    try:
        with FileLock(lock, timeout=LOCK_DEADLINE_S, poll_interval=LOCK_BACKOFF_S, mode=0o600):
            yield lock
    except Timeout as error:
        raise StoreUnavailableError(
            f"cannot open {path}: another process has locked {lock} for {LOCK_DEADLINE_S:g} s, since it opens, "
            "salvages or restores the store; wait for it, or find it with `fuser` and stop it"
        ) from error


def find_unwritable(path: Path) -> OSError | None:
    """Why the store's files cannot grow now; SQLite does not tell the operating system's reason."""
    probe = companion(path, ".probe")
    end = max(size_of(companion(path, suffix)) for suffix in ("", LOG))
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


def had_content(lock: Path) -> bool:
    """Whether a store was ever made here."""
    return lock.stat().st_size > 0


def remember_content(lock: Path) -> None:
    """Note that a store was made here, so that an empty file can be told from a new one."""
    if not had_content(lock):
        lock.write_text("a store was made here\n")


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
    delete_arrays(building)
    return building


def delete_arrays(path: Path) -> None:
    """Delete all large arrays of a store that is not in use."""
    with suppress(FileNotFoundError):
        shutil.rmtree(companion(path, ARRAYS))


def link_arrays(path: Path, other: Path) -> None:
    """Let another store have the large arrays of this one too. They take no more room, if both are on one disk.

    What has the same name there is replaced.
    """
    try:
        names = os.listdir(companion(path, ARRAYS))  # noqa: PTH208 - names, and not in a generator
    except FileNotFoundError:
        return
    folder = companion(other, ARRAYS)
    folder.mkdir(exist_ok=True)
    for name in names:
        with suppress(FileNotFoundError):  # removed meanwhile
            _link(companion(path, ARRAYS) / name, folder / name)


def _link(file: Path, link: Path) -> None:
    if link.exists():
        if link.samefile(file):
            return
        link.unlink()
    try:
        link.hardlink_to(file)
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        shutil.copyfile(file, link)


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
    sync(building)
    building.rename(companion(path, f".next.{aside}"))
    sync(path.parent)
    return finish_replacing(path) or path


def put(building: Path, destination: Path) -> None:
    """Put a finished file, closed, with its arrays, where no store is in use."""
    sync(building)
    delete_arrays(destination)
    with suppress(FileNotFoundError):
        companion(building, ARRAYS).rename(companion(destination, ARRAYS))
    building.rename(destination)
    sync(destination.parent)


def finish_replacing(path: Path) -> Path | None:
    """Take the last steps of a `replace`, under `locked`; the path of the old store, or None if there was nothing."""
    prefix = f"{path.name}.next."
    for following in sorted(path.parent.glob(f"{prefix}*")):
        old = companion(path, "." + following.name.removeprefix(prefix))
        if path.exists():
            link_arrays(path, old)  # the new store will remove them some day
        # The main file first: from there on its old writer sees that it is fenced.
        for suffix in ("", *COMPANIONS):
            if not companion(old, suffix).exists():
                with suppress(FileNotFoundError):
                    companion(path, suffix).rename(companion(old, suffix))
        following.rename(path)
        sync(path.parent)
        return old
    return None


def sync(path: Path) -> None:
    """Wait until a file or folder is on the disk."""
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)
