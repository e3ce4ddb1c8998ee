"""Large arrays in files beside a store, which readers map into memory instead of copying them.

A file is written before the item that refers to it is set, never changed, and removed when the item goes. The item's
value in the store is a reference: what it takes to find the file and to notice damage, then the rest of the value.
"""

import mmap
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple
from uuid import uuid4

import numpy as np
from xxhash import xxh3_64, xxh3_64_hexdigest

from seedcore.errors import InvalidValueError, ItemDamagedError, StoreUnavailableError
from seedcore.settings import Synchronous
from seedcore.store.files import store_files
from seedcore.store.files.store_files import ARRAYS, companion
from seedcore.store.values.codec import Arrays, Encoded, WithArrays, aligned

MIN_BYTES: Final = 256 * 1024  # of an array that gets a file; a smaller one is quicker in the store
CHUNK_BYTES: Final = 2**20  # hashed while it is in the processor's cache, then written
# A file that nothing refers to is left alone for so long: its item may be on the way, and wait for a dead actor.
UNREFERENCED_S: Final = 3600.0
MAX_CHECKED: Final = 10_000  # files that a process remembers to be right

# A reference: the one byte that msgpack never writes, the file's name, its bytes in decimal, its XXH3 hash of 64 bits.
MARK: Final = b"\xc1"
REFERENCE: Final = re.compile(rb"\xc1([0-9a-f]{32})([0-9]{16})([0-9a-f]{16})")
REFERENCE_BYTES: Final = 65
NAME: Final = re.compile(r"[0-9a-f]{32}")
# The same in SQL, of a column or of `old.value` and the like; see `str.format`.
SQL_IS_REFERENCE: Final = "({0} >= x'c1' AND {0} < x'c2' AND length({0}) > 65)"
SQL_NAME: Final = "substr({0}, 2, 32)"
SQL_BYTES: Final = f"(length({{0}}) + iif({SQL_IS_REFERENCE}, CAST(substr({{0}}, 34, 16) AS INTEGER), 0))"

_checked: dict[str, int] = {}  # names of files that were right when this process read them, and their inodes


class ArrayFile(NamedTuple):
    """A file with the arrays of one value.

    Args:
        name: unique, in the folder of the store's arrays.
        size: its bytes.
        digest: of its content.
    """

    name: str
    size: int
    digest: str


def write(store: Path, arrays: Sequence[Arrays], synchronous: Synchronous) -> ArrayFile:
    """Write a file for the arrays of one value.

    Args:
        store: the SQLite file of the store.
        arrays: as `codec.aside_encoder` returns them.
        synchronous: FULL waits for the disk.

    Raises:
        OSError: nothing of it is left.
    """
    folder = companion(store, ARRAYS)
    folder.mkdir(exist_ok=True)
    path = folder / uuid4().hex
    digest = xxh3_64()
    try:
        with path.open("xb") as file:
            for chunk in _laid_out(arrays):
                digest.update(chunk)
                file.write(chunk)
            if synchronous is Synchronous.FULL:
                file.flush()
                os.fsync(file.fileno())
        if synchronous is Synchronous.FULL:
            store_files.sync(folder)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return ArrayFile(path.name, path.stat().st_size, digest.hexdigest())


def _laid_out(arrays: Sequence[Arrays]) -> Iterator[memoryview]:
    end = 0
    for array in arrays:
        place = aligned(end)
        if place > end:
            yield memoryview(bytes(place - end))
        content = array.data
        for start in range(0, len(content), CHUNK_BYTES):
            yield content[start : start + CHUNK_BYTES]
        end = place + array.nbytes


def reference(file: ArrayFile, data: bytes) -> bytes:
    """The value in the store: the file, and the rest of the value."""
    return b"\xc1%s%016d%s%s" % (file.name.encode(), file.size, file.digest.encode(), data)


def is_reference(value: bytes) -> bool:
    """Whether a value in the store refers to a file."""
    return value[:1] == MARK


def parse(value: bytes) -> ArrayFile:
    """The file that a reference refers to.

    Raises:
        InvalidValueError: it is no reference.
    """
    found = REFERENCE.match(value)
    if found is None:
        raise InvalidValueError("a value starts like a reference to a file of arrays, and is none")
    name, size, digest = found.groups()
    return ArrayFile(name.decode(), int(size), digest.decode())


def value_bytes(value: bytes) -> int:
    """Bytes of a value in the store and of its file."""
    return len(value) + (parse(value).size if is_reference(value) else 0)


def require_written(store: Path, value: bytes) -> None:
    """Before an item that refers to a file is set.

    Raises:
        InvalidValueError: it is no reference.
        StoreUnavailableError: the file is not there as it was written.
    """
    file = parse(value)
    if store_files.size_of(companion(store, ARRAYS) / file.name) != file.size:
        raise StoreUnavailableError(
            f"the arrays of a value are not in {companion(store, ARRAYS)} any more; set the value once more"
        )


def is_quick(value: bytes) -> bool:
    """Whether the arrays can be had without reading all of them: this process has found them right before."""
    return parse(value).name in _checked


def load(store: Path, read: Callable[[], Mapping[str, bytes]]) -> dict[str, Encoded]:
    """What `read` finds in the store, with the arrays mapped.

    An array of a value is one copy in memory, whatever the number of processes on the machine that have it; a process
    that changes one gets pages of its own. Each process reads the whole of a file once, to check it.

    Args:
        store: the SQLite file of the store.
        read: the values by item id, as they are now.

    Raises:
        ItemDamagedError: a file is missing, or is not as it was written.
        OSError: a file cannot be read.
    """
    missing: bytes | None = None
    while True:
        values = read()
        found: dict[str, Encoded] = {**values}
        for item_id, value in values.items():
            if value[:1] != MARK:
                continue
            try:
                found[item_id] = _load_one(store, item_id, value)
            except FileNotFoundError:
                if value == missing:  # else the item was replaced since it was read
                    raise _damaged(store, item_id) from None
                missing = value
                break
        else:
            return found


def _load_one(store: Path, item_id: str, value: bytes) -> WithArrays:
    file = parse(value)
    descriptor = os.open(companion(store, ARRAYS) / file.name, os.O_RDONLY | os.O_CLOEXEC)
    try:
        found = os.fstat(descriptor)
        if found.st_size != file.size:
            raise _damaged(store, item_id)
        # Copy on write: whoever changes an array changes neither the file nor what others see.
        arrays = np.frombuffer(mmap.mmap(descriptor, file.size, access=mmap.ACCESS_COPY), np.uint8)
    finally:
        os.close(descriptor)
    if _checked.get(file.name) != found.st_ino:
        if xxh3_64_hexdigest(arrays.data) != file.digest:
            raise _damaged(store, item_id)
        if len(_checked) >= MAX_CHECKED:
            _checked.clear()
        _checked[file.name] = found.st_ino
    return WithArrays(value[REFERENCE_BYTES:], arrays)


def _damaged(store: Path, item_id: str) -> ItemDamagedError:
    return ItemDamagedError(
        f"the arrays of item {item_id!r} in {companion(store, ARRAYS)} are not as they were written: the disk changed "
        "them. Set it anew or delete it, or bring a backup back with `make restore`"
    )


def is_whole(store: Path, value: bytes) -> bool:
    """Whether a reference's file is as it was written; reads all of it."""
    digest = xxh3_64()
    try:
        file = parse(value)
        with (companion(store, ARRAYS) / file.name).open("rb") as content:
            while chunk := content.read(CHUNK_BYTES):
                digest.update(chunk)
    except (InvalidValueError, FileNotFoundError):
        return False
    return digest.hexdigest() == file.digest


def keep_only(store: Path, references: Iterable[bytes]) -> bool:
    """Delete the other files of a store that is not in use; whether all of these are there."""
    # Of a row that the disk changed the row's own check tells.
    wanted = {parse(value).name for value in references if REFERENCE.match(value)}
    folder = companion(store, ARRAYS)
    found = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    remove(store, sorted(found - wanted))
    return wanted <= found


def abandoned(store: Path) -> list[str]:
    """Names of files so old that an item would refer to them by now, if one ever will."""
    latest = time.time() - UNREFERENCED_S
    try:
        with os.scandir(companion(store, ARRAYS)) as entries:
            return [entry.name for entry in entries if NAME.fullmatch(entry.name) and entry.stat().st_mtime < latest]
    except FileNotFoundError:
        return []


def remove(store: Path, names: Sequence[str]) -> None:
    """Delete files that nothing refers to; who has one mapped keeps it. What the disk made of a name is left alone."""
    for name in filter(NAME.fullmatch, names):
        (companion(store, ARRAYS) / name).unlink(missing_ok=True)
