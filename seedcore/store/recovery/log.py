"""Finds damage in a write-ahead log, which SQLite itself drops silently.

SQLite takes the frames of the log up to the first one that is not right, and ignores what follows. That is how a
killed process's unfinished transaction goes, but also how finished ones go behind a damaged frame. The format:
https://www.sqlite.org/fileformat2.html#the_write_ahead_log
"""

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple

HEADER_BYTES: Final = 32
FRAME_HEADER_BYTES: Final = 24
MAGIC: Final = {0x377F0682: "<", 0x377F0683: ">"}  # and the byte order of the checksums
CHUNK_BYTES: Final = 4 * 1024**2  # read at a time


@dataclass(frozen=True)
class LogContent:
    """What is in a log.

    Args:
        damage: what is wrong with it, or None.
        end: bytes up to the end of the last whole transaction; what follows was never acknowledged, or is damaged.
        pages: where in the file the newest content of each page starts, of the transactions that are whole.
        page_size: in bytes.
        page_count: of the database after the last whole transaction; 0 when there is none.
    """

    damage: str | None
    end: int
    pages: dict[int, int]
    page_size: int = 0
    page_count: int = 0


class _Frame(NamedTuple):
    page: int
    page_count: int  # above 0 in the last frame of a transaction
    has_salt_1: bool
    has_salt_2: bool
    follows: bool  # its checksum is right after the frame before it
    start: int  # of the page's content


def read_log(path: Path) -> LogContent:
    """Read the log while nobody writes to it; one that is not there has no content."""
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        size = 0
    if size == 0:
        return LogContent(None, 0, {})
    with path.open("rb") as file:
        header = file.read(HEADER_BYTES)
        if len(header) < HEADER_BYTES:
            return LogContent("its header is cut off", 0, {})
        magic, _, page_size, *_ = struct.unpack(">8I", header)
        order = MAGIC.get(magic)
        if order is None or page_size not in {2**power for power in range(9, 17)}:
            return LogContent("its header is not one", 0, {})
        if _plain_checksum(header[:24], order) != struct.unpack(">2I", header[24:]):
            return LogContent("the checksum of its header is wrong", 0, {})
        return _content(_frames(file, header, page_size, order), page_size)


def cut_leftovers(path: Path, content: LogContent) -> None:
    """Cut off what follows the last whole transaction; for the one process that writes, while it does not.

    A part of a killed process's transaction, once another is written over its beginning, would look like damage.

    Args:
        path: of the log.
        content: what is in it now.
    """
    if content.end:
        os.truncate(path, content.end)


def _content(frames: Iterator[_Frame], page_size: int) -> LogContent:
    committed: dict[int, int] = {}
    pending: dict[int, int] = {}
    page_count, end = 0, HEADER_BYTES
    chain_ended = 0
    for number, frame in enumerate(frames, 1):
        is_current = frame.has_salt_1 and frame.has_salt_2
        if not chain_ended and is_current and frame.follows and frame.page:
            pending[frame.page] = frame.start
            if frame.page_count:
                committed |= pending
                pending.clear()
                page_count, end = frame.page_count, frame.start + page_size
            continue
        # The first salt counts up and the second is random, so no frame of an earlier log has one of them only.
        if frame.has_salt_1 != frame.has_salt_2:
            return LogContent(f"frame {number} has a damaged header", end, committed, page_size, page_count)
        if not chain_ended:
            # SQLite writes a frame's header before its content, so a killed process may leave a last one like this.
            chain_ended = number
            continue
        if is_current and frame.page_count:
            return LogContent(
                f"frame {chain_ended} is damaged, and transactions behind it cannot be read",
                end,
                committed,
                page_size,
                page_count,
            )
    return LogContent(None, end, committed, page_size, page_count)


def _frames(file: Any, header: bytes, page_size: int, order: str) -> Iterator[_Frame]:
    import numpy as np  # late, since most logs are empty when a store opens

    frame_bytes = FRAME_HEADER_BYTES + page_size
    factors, weights = _checksum_of_frames(page_size)
    before = np.array([struct.unpack(">2I", header[24:32])], np.uint32)
    salts = struct.unpack(">2I", header[16:24])
    position = HEADER_BYTES
    while chunk := file.read(max(1, CHUNK_BYTES // frame_bytes) * frame_bytes):
        count = len(chunk) // frame_bytes  # a frame that is cut off was never whole
        words = np.frombuffer(chunk, np.uint8, count * frame_bytes).reshape(count, frame_bytes)
        heads = words[:, :FRAME_HEADER_BYTES].copy().view(">u4").astype(np.uint32)
        # The checksum covers page number and page count, and the content, but not the salts and itself.
        covered = np.concatenate([words[:, :8], words[:, FRAME_HEADER_BYTES:]], axis=1).view(f"{order}u4")
        previous = np.concatenate([before, heads[:-1, 4:6]])
        right = (previous @ factors + covered.astype(np.uint32) @ weights == heads[:, 4:6]).all(axis=1)
        for number, (head, follows) in enumerate(zip(heads.tolist(), right.tolist(), strict=True)):
            start = position + number * frame_bytes + FRAME_HEADER_BYTES
            yield _Frame(head[0], head[1], head[2] == salts[0], head[3] == salts[1], follows, start)
        before = heads[-1:, 4:6]
        position += count * frame_bytes


@cache
def _checksum_of_frames(page_size: int) -> tuple[Any, Any]:
    """SQLite's checksum is linear: the weight of the checksum before, and of each word, modulo 2**32."""
    import numpy as np

    words = (8 + page_size) // 4
    weights = np.zeros((words, 2), np.uint32)
    # One step is s0 += x + s1, then s1 += y + s0; so an s0 and an s1 of 1 become these after the steps to the end.
    of_s0, of_s1 = (1, 0), (0, 1)
    for at in range(words - 2, -1, -2):
        # x goes in before this step's own second half, y after it.
        weights[at] = [(a + b) % 2**32 for a, b in zip(of_s0, of_s1, strict=True)]
        weights[at + 1] = of_s1
        of_s0, of_s1 = (
            tuple((a + b) % 2**32 for a, b in zip(of_s0, of_s1, strict=True)),  # type: ignore[assignment]
            tuple((a + 2 * b) % 2**32 for a, b in zip(of_s0, of_s1, strict=True)),  # type: ignore[assignment]
        )
    return np.array([of_s0, of_s1], np.uint32), weights


def _plain_checksum(data: bytes, order: str) -> tuple[int, int]:
    s0 = s1 = 0
    for x, y in struct.iter_unpack(f"{order}2I", data):
        s0 = (s0 + x + s1) % 2**32
        s1 = (s1 + y + s0) % 2**32
    return s0, s1
