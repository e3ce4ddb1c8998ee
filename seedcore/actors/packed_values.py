"""How the values of items travel between a client and an actor: as bytes, or beside the bytes of their large arrays."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard

import numpy as np

from seedcore.store.codec import Arrays, WithArrays
from seedcore.store.files import array_files
from seedcore.store.files.array_files import Encoded
from seedcore.store.limits import check_sizes

Packed = bytes | list[Any]  # in a list the bytes come first; Ray does not copy the arrays behind them


def pack_new(data: bytes, arrays: Sequence[Arrays]) -> Packed:
    """A value to keep, as `codec.encode_aside` made it."""
    return [data, *arrays] if arrays else data


def unpack_new(packed: Packed) -> tuple[bytes, Sequence[Arrays]]:
    """What was packed by `pack_new`."""
    return (packed[0], packed[1:]) if isinstance(packed, list) else (packed, ())


def pack_found(value: Encoded) -> Packed:
    """A value that was found."""
    return [value.data, value.arrays] if isinstance(value, WithArrays) else value


def unpack_found(packed: Packed) -> Encoded:
    """What was packed by `pack_found`; its arrays are a copy, which can be changed and holds nothing in Ray's store."""
    return WithArrays(packed[0], np.array(packed[1])) if isinstance(packed, list) else packed


def check_packed_sizes(items: Mapping[str, Packed], max_bytes: int, knob: str) -> None:
    """`limits.check_sizes` of values to keep."""
    # Of a million small values none is looked at twice.
    sizes = {
        item_id: _bytes_of(packed)
        for item_id, packed in items.items()
        if isinstance(packed, list) or len(packed) > max_bytes or array_files.is_reference(packed)
    }
    check_sizes(sizes, max_bytes, knob)


def are_bytes(items: Mapping[str, Packed]) -> TypeGuard[Mapping[str, bytes]]:
    """Whether no large arrays are beside any of the values."""
    return not any(isinstance(packed, list) for packed in items.values())


def _bytes_of(packed: Packed) -> int:
    data, arrays = unpack_new(packed)
    return array_files.value_bytes(data) + sum(array.nbytes for array in arrays)
