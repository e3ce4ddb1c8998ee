"""What travels between a client and an actor of the working memory: calls, their answers, and the values of items.

All are lists of plain data, which Ray packs with msgpack; a class of ours in them would be pickled, and a call with
several arguments packed one by one, each of which takes a tenth of the whole call.
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from seedcore.errors import SeedCoreError
from seedcore.store.files import array_files
from seedcore.store.requests import RequestId
from seedcore.store.values.codec import Arrays, Encoded, WithArrays, aligned

Packed = bytes | list[Any]  # a value; in a list its bytes come first, and Ray does not copy the arrays behind them


class Call(NamedTuple):
    """A call of a method of an actor.

    Args:
        method: its name.
        arguments: by position.
        request: the last argument of a method that does it once, however often it comes.
    """

    method: str
    arguments: tuple[Any, ...]
    request: RequestId | None = None


class Answer(NamedTuple):
    """What came of a call.

    Args:
        result: what the method returned.
        error: what it raised instead.
    """

    result: Any = None
    error: SeedCoreError | None = None


def pack_calls(calls: Iterable[Call]) -> list[Any]:
    """The calls as plain data."""
    return [
        [call.method, list(call.arguments), None if call.request is None else _packed(call.request)] for call in calls
    ]


def unpack_calls(packed: list[Any]) -> list[Call]:
    """The calls that were packed."""
    return [
        Call(method, tuple(arguments), None if request is None else RequestId(*request))
        for method, arguments, request in packed
    ]


def pack_answers(answers: Iterable[Answer]) -> list[Any]:
    """The answers as plain data, but for errors."""
    return [list(answer) for answer in answers]


def unpack_answers(packed: list[Any]) -> list[Answer]:
    """The answers that were packed."""
    return [Answer(*answer) for answer in packed]


def _packed(request: RequestId) -> list[Any]:
    return [request.client_id, request.number, request.first_incomplete, list(request.abandoned)]


def pack_new(data: bytes, arrays: Sequence[Arrays]) -> Packed:
    """A value to keep, as `codec.aside_encoder` made it."""
    return [data, *arrays] if arrays else data


def unpack_new(packed: list[Any]) -> tuple[bytes, Sequence[Arrays]]:
    """What was packed by `pack_new`, with arrays."""
    return packed[0], packed[1:]


def pack_found(value: Encoded) -> Packed:
    """A value that was found."""
    return [value.data, value.arrays] if isinstance(value, WithArrays) else value


def unpack_found(packed: Packed) -> Encoded:
    """What was packed by `pack_found`; its arrays are a copy, which can be changed and holds nothing in Ray's store."""
    return WithArrays(packed[0], np.array(packed[1])) if isinstance(packed, list) else packed


def packed_bytes(packed: Packed) -> int:
    """Bytes that a value takes in a store, with the file of its arrays."""
    if isinstance(packed, bytes):
        return len(packed)
    data, *arrays = packed
    end = 0
    for array in arrays:
        end = aligned(end) + int(array.nbytes)
    return len(data) + array_files.REFERENCE_BYTES + end
