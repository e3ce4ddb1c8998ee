"""A value as it stands in the engine: what it is, its checksum, then its bytes; and its large arrays in pieces.

A piece is a key of its own with 1 MiB at most, so that neither a set nor a get of a large array keeps the engine from
others for long.
"""

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple
from uuid import uuid4

import numpy as np
from xxhash import xxh3_64, xxh3_64_digest, xxh3_64_intdigest

from seedcore.errors import ItemDamagedError
from seedcore.store.values.codec import Arrays, aligned

PIECE_BYTES: Final = 2**20
MIN_BYTES: Final = 256 * 1024  # of an array that is kept in pieces
PLAIN_SIGN: Final = "v"
PIECES_SIGN: Final = "p"  # then name, number of pieces, bytes in all, checksum of all; `scripts` reads the first two
DIGEST_BYTES: Final = 8
HEAD_BYTES: Final = 1 + DIGEST_BYTES  # sign and checksum of a plain value
NAME_CHARACTERS: Final = 32
HEAD_WITH_PIECES: Final = 1 + NAME_CHARACTERS + 5 + 16  # sign, name, number of pieces, bytes in all
MAX_PIECES: Final = 99_999


class Pieces(NamedTuple):
    """The arrays of one value.

    Args:
        name: unique.
        number: of the pieces.
        size: bytes in all.
        digest: of all, XXH3 of 64 bits.
    """

    name: str
    number: int
    size: int
    digest: bytes


def wrap(data: bytes, key: bytes) -> bytes:
    """A value without arrays beside it."""
    return PLAIN_SIGN.encode() + _digest(data, key) + data


def wrap_with_pieces(pieces: Pieces, data: bytes, key: bytes) -> bytes:
    """A value whose arrays are in pieces."""
    place = b"%s%05d%016d%s" % (pieces.name.encode(), pieces.number, pieces.size, pieces.digest)
    return PIECES_SIGN.encode() + place + _digest(place + data, key) + data


def unwrap(value: bytes, key: bytes, item_id: str) -> tuple[bytes, Pieces | None]:
    """The value's bytes, and where its arrays are.

    Raises:
        ItemDamagedError: it is not as it was written, or not of ours.
    """
    sign = value[:1]
    if sign == PLAIN_SIGN.encode():
        data = value[HEAD_BYTES:]
        if value[1:HEAD_BYTES] == _digest(data, key):
            return data, None
    elif sign == PIECES_SIGN.encode():
        end = 1 + NAME_CHARACTERS + 5 + 16 + 8
        place, data = value[1:end], value[end + 8 :]
        if value[end : end + 8] == _digest(place + data, key):
            name, number, size = place[:32].decode(), int(place[32:37]), int(place[37:53])
            return data, Pieces(name, number, size, place[53:])
    raise damaged(item_id)


def size_of(data: bytes, arrays: Sequence[Arrays]) -> int:
    """Bytes that a value takes, all of its pieces among them."""
    if not arrays:
        return HEAD_BYTES + len(data)
    end = 0
    for array in arrays:
        end = aligned(end) + array.nbytes
    return HEAD_WITH_PIECES + 2 * DIGEST_BYTES + len(data) + end


def size_of_pieces(head: bytes) -> int:
    """Bytes of the arrays of a value, by its first `HEAD_WITH_PIECES` bytes; 0 of one that is not of ours."""
    number = head[1 + NAME_CHARACTERS + 5 : HEAD_WITH_PIECES]
    return int(number) if head[:1] == PIECES_SIGN.encode() and number.isdigit() else 0


def damaged(item_id: str) -> ItemDamagedError:
    """For an item that is not as it was written."""
    return ItemDamagedError(
        f"item {item_id!r} is not in the engine as it was written: the disk or another application changed it. Set it "
        "anew or delete it, or bring a backup back with `make restore`"
    )


def _digest(data: bytes, key: bytes) -> bytes:
    # With the key, so that a value under another one is noticed.
    return xxh3_64_digest(data, seed=len(key) + (hash_of_key(key) << 16))


def hash_of_key(key: bytes) -> int:
    """32 bits of a key, the same in every process."""
    return int(xxh3_64_intdigest(key) >> 32)


def cut(arrays: Sequence[Arrays]) -> tuple[Pieces, Iterator[bytes]]:
    """The arrays of a value, each at its place, and their pieces one after the other."""
    digest = xxh3_64()
    size = 0
    for array in arrays:
        place = aligned(size)
        digest.update(bytes(place - size))
        digest.update(array.data)
        size = place + array.nbytes
    number = -(-size // PIECE_BYTES)
    return Pieces(uuid4().hex, number, size, digest.digest()), _pieces(arrays)


def _pieces(arrays: Sequence[Arrays]) -> Iterator[bytes]:
    piece = bytearray()
    end = 0
    for array in arrays:
        place = aligned(end)
        piece += bytes(place - end)
        content, start = array.data, 0
        while start < len(content):
            taken = content[start : start + PIECE_BYTES - len(piece)]
            piece += taken
            start += len(taken)
            if len(piece) == PIECE_BYTES:
                yield bytes(piece)
                piece.clear()
        end = place + array.nbytes
    if piece:
        yield bytes(piece)


class Gathering:
    """Puts the pieces of a value's arrays together, in one copy.

    Args:
        pieces: what there must be.
    """

    def __init__(self, pieces: Pieces) -> None:
        self._pieces = pieces
        self._arrays: Arrays = np.empty(pieces.size, np.uint8)
        self._digest = xxh3_64()
        self._end = 0

    def add(self, piece: bytes) -> None:
        """The next one."""
        fits = piece[: self._pieces.size - self._end]
        self._arrays[self._end : self._end + len(fits)] = np.frombuffer(fits, np.uint8)
        self._digest.update(piece)
        self._end += len(piece)

    def arrays(self, item_id: str) -> Arrays:
        """All of them.

        Raises:
            ItemDamagedError: they are not as they were written.
        """
        if self._end != self._pieces.size or self._digest.digest() != self._pieces.digest:
            raise damaged(item_id)
        return self._arrays
