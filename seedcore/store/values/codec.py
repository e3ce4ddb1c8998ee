"""Turns values into bytes and back, as data: decoding never runs code that came with the value.

The bytes are msgpack. Types that msgpack does not have travel as its extension types, numbered in `_Ext`: those of
Python and numpy as the tables below say, values of the user's classes as `records` takes them apart, and all others by
the table in `value_types`. Large arrays can be left out of the bytes, to stand beside them.
"""

import datetime as dt
import io
import math
from collections.abc import Callable, Iterable
from decimal import Decimal
from enum import IntEnum
from functools import lru_cache, partial
from typing import Any, Final, NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

import msgpack
import numpy as np
from numpy.typing import NDArray

from seedcore.errors import InvalidValueError
from seedcore.event_loop import INLINE_BYTES
from seedcore.store.values import records, value_types

SUPPORTED: Final = (
    "None, bool, int, float, str, bytes, list, tuple, set, frozenset, dict, datetime, date, time, timedelta, Decimal, "
    "UUID, complex, numpy arrays and scalars without objects, enums, dataclasses, named tuples, pydantic models, "
    "pandas frames and series, pyarrow tables, torch tensors, and what VALUES in app/values.py has a row for"
)

MAX_DEPTH: Final = (
    100  # of nesting; the C stack holds about twice as many nested extension types, and JSON as many lists
)

REFUSED: Final = (TypeError, ValueError, OverflowError, RecursionError)  # what msgpack and the types' own code raise
TOO_DEEP: Final = f"cannot keep a value that is nested more than {MAX_DEPTH} levels deep"

ALIGNMENT: Final = 64  # bytes; each array that stands beside its value starts at a multiple, as numpy's own do

MAX_SMALL_PARTS: Final = 200
MAX_SMALL_LENGTH: Final = 4096  # of a string or of bytes
USUAL_SCALARS: Final = frozenset({type(None), bool, int, float})  # quicker to look up
SCALARS: Final = (type(None), int, float, complex, dt.date, dt.time, dt.timedelta, Decimal, UUID)

# How numpy's format begins, but for headers of more than 64 KiB: https://numpy.org/neps/nep-0001-npy-format.html
USUAL_ARRAY: Final = b"\x93NUMPY\x01\x00"
CONTENT_AFTER: Final = 10  # bytes, and the header, whose length the last two of them tell
HEADERS: Final = 256  # that are remembered

Pack = Callable[[Any], bytes]
Unpack = Callable[[bytes], Any]
Arrays = NDArray[np.uint8]


class WithArrays(NamedTuple):
    """An encoded value whose large arrays stand beside it.

    Args:
        data: the value, with the places of its arrays.
        arrays: their bytes, of shape (N,), each array at its place. What is decoded refers to them; it can be changed
            where they can.
    """

    data: bytes
    arrays: Arrays


Encoded = bytes | WithArrays


class _Aside(NamedTuple):
    """Arrays that are left out of the bytes, in the order of their places."""

    min_bytes: int
    arrays: list[Arrays]

    def put(self, array: Arrays) -> int:
        """The place of one more array."""
        end = 0
        for before in self.arrays:
            end = aligned(end) + before.nbytes
        self.arrays.append(array)
        return aligned(end)


class _Ext(IntEnum):
    """msgpack extension type codes. They are on disk: never renumber."""

    BIG_INT = 1
    TUPLE = 2
    SET = 3
    FROZENSET = 4
    DATETIME = 5
    DATE = 6
    TIME = 7
    TIMEDELTA = 8
    DECIMAL = 9
    UUID = 10
    COMPLEX = 11
    NDARRAY = 12
    NUMPY_SCALAR = 13
    DATACLASS = 14  # until 0.2
    NUMPY_BYTES = 15
    NUMPY_STR = 16
    ARRAY_ASIDE = 17
    ENUM = 18
    DATACLASS_STATE = 19
    NAMED_TUPLE = 20
    MODEL = 21
    VALUE_TYPE = 22


def encode(value: Any) -> bytes:
    """Bytes that `decode` turns back into an equal value.

    Raises:
        InvalidValueError: the value, or something in it, is of a type that is not data, or it is nested too deeply.
    """
    try:
        return _pack(value, None, _levels_left(value, MAX_DEPTH))
    except InvalidValueError:
        raise
    except REFUSED as error:
        raise _refusal(value, error) from error


def aside_encoder(min_bytes: int) -> Callable[[Any], tuple[bytes, list[Arrays]]]:
    """`encode` without the large arrays in the values: a function for one value after the other, in one thread.

    Args:
        min_bytes: of an array that is left out.

    Returns:
        what makes of a value its bytes and the arrays, each of shape (N,) and without a copy where numpy allows that.
        To decode them, put each at the first multiple of `ALIGNMENT` after the one before; see `WithArrays`. It raises
        InvalidValueError as `encode`.
    """
    aside = _Aside(min_bytes, [])
    left = 0

    def pack_other(value: Any) -> Any:
        return _pack_other(aside, left, value)

    # One for all: to make it takes longer than to pack a small value.
    packer = msgpack.Packer(default=pack_other, strict_types=True, use_bin_type=True)

    def encode_aside(value: Any) -> tuple[bytes, list[Arrays]]:
        nonlocal aside, left
        if aside.arrays:  # of the value before
            aside = _Aside(min_bytes, [])
        try:
            left = _levels_left(value, MAX_DEPTH)
            data = packer.pack(value)
        except InvalidValueError:
            raise
        except REFUSED as error:
            raise _refusal(value, error) from error
        return data, aside.arrays or []

    return encode_aside


def is_small(value: Any) -> bool:
    """Whether a value is handled in some ten microseconds, so that a thread would only cost time."""
    if type(value) in USUAL_SCALARS:
        return True
    waiting = [value]
    parts = 1
    while waiting:
        part = waiting.pop()
        if type(part) in USUAL_SCALARS:
            continue
        if isinstance(part, str | bytes):
            if len(part) > MAX_SMALL_LENGTH:
                return False
        elif isinstance(part, dict | list | tuple | set | frozenset):
            parts += len(part)
            if parts > MAX_SMALL_PARTS:
                return False
            waiting.extend(part)
            if isinstance(part, dict):
                waiting.extend(part.values())
        elif not isinstance(part, SCALARS):
            return False
    return True


def is_quickly_encoded(value: Any) -> bool:
    """Whether a value is encoded in so short a time that a thread would only cost more."""
    return value.nbytes <= INLINE_BYTES if isinstance(value, np.ndarray) else is_small(value)


def aligned(place: int) -> int:
    """The first multiple of `ALIGNMENT` from there on."""
    return -(-place // ALIGNMENT) * ALIGNMENT


def _refusal(value: Any, error: Exception) -> InvalidValueError:
    return InvalidValueError(f"cannot keep a value of type {type(value).__name__}: {error}")


def decode(encoded: Encoded) -> Any:
    """The value that was encoded.

    Raises:
        InvalidValueError: the bytes are damaged, or hold a value of a class or package that this process cannot import.
    """
    data, arrays = encoded if isinstance(encoded, WithArrays) else (encoded, None)
    try:
        return _unpack(data, MAX_DEPTH, arrays)
    except InvalidValueError:
        raise
    except Exception as error:  # of msgpack, numpy, the types' constructors, and functions of the application's table
        raise InvalidValueError(f"cannot decode a stored value: {type(error).__name__}: {error}") from error


def _levels_left(value: Any, depth: int) -> int:
    """How many levels of nesting are left below the deepest part of a value; what `_pack_other` takes apart is one.

    Raises:
        InvalidValueError: it is nested more deeply.
    """
    children = _CHILDREN.get(type(value))
    if children is None:
        return depth
    left = depth
    for child in children(value):
        kind = type(child)
        if kind not in _FLAT and kind in _CHILDREN:
            if depth == 0:
                raise InvalidValueError(TOO_DEEP)
            below = _levels_left(child, depth - 1)
            if below < left:  # which is quicker than min()
                left = below
    return left


def _refuse_msgpack(value: Any) -> Iterable[Any]:
    raise InvalidValueError(f"cannot keep a msgpack.{type(value).__name__}; values are data: {SUPPORTED}")


def _refuse_buffer(value: Any) -> Iterable[Any]:
    raise InvalidValueError(f"cannot keep a {type(value).__name__}, which would come back as bytes: keep bytes(value)")


_FLAT: Final = frozenset({type(None), bool, int, float, str, bytes})  # most values, so that they cost no more than this
# Exact type -> what is in it; keys of a dict may be tuples.
_CHILDREN: Final[dict[type, Callable[[Any], Iterable[Any]]]] = {
    list: iter,
    tuple: iter,
    set: iter,
    frozenset: iter,
    dict: lambda value: (*value, *value.values()),
    msgpack.ExtType: _refuse_msgpack,
    msgpack.Timestamp: _refuse_msgpack,
    bytearray: _refuse_buffer,  # msgpack takes both for bytes
    memoryview: _refuse_buffer,
}


def _pack(value: Any, aside: _Aside | None, left: int) -> bytes:
    # strict_types sends tuples and subclasses, such as numpy's float64, to _pack_other instead of flattening them.
    pack_other = partial(_pack_other, aside, left)
    return bytes(msgpack.packb(value, default=pack_other, strict_types=True, use_bin_type=True))


def _unpack(data: bytes, depth: int, arrays: Arrays | None) -> Any:
    # Each extension type in another is a new parser on the stack, so bytes from elsewhere must not choose how many.
    if depth < 0:
        raise InvalidValueError(f"cannot decode a stored value: it is nested more than {MAX_DEPTH} levels deep")
    unpack_other = partial(_unpack_other, depth - 1, arrays)
    return msgpack.unpackb(data, ext_hook=unpack_other, strict_map_key=False, use_list=True)


def _pack_time(value: dt.datetime | dt.time, pack: Pack) -> bytes:
    zone: Any = value.tzinfo  # a zoneinfo zone keeps its name, a fixed offset its offset, any other is a value itself
    if type(zone) is ZoneInfo and zone.key:
        zone = zone.key
    elif type(zone) is dt.timezone and zone.tzname(None) == dt.timezone(zone.utcoffset(None)).tzname(None):
        zone = None
    elif zone is not None:
        value = value.replace(tzinfo=None)
    return pack([value.isoformat(), value.fold, zone])


def _unpack_time(kind: type[dt.datetime] | type[dt.time], data: bytes, unpack: Unpack) -> dt.datetime | dt.time:
    text, fold, zone = unpack(data)
    value = kind.fromisoformat(text).replace(fold=fold)
    if zone is None:
        return value
    return value.replace(tzinfo=ZoneInfo(zone) if isinstance(zone, str) else zone)


def _pack_array(value: Any) -> bytes:
    _validate_dtype(value.dtype)
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, np.asarray(value), allow_pickle=False)
    return buffer.getvalue()


def _validate_dtype(dtype: np.dtype[Any]) -> None:
    """Refuse what numpy's own format does not keep: objects, records, metadata, and the dtypes of other packages."""
    if dtype.hasobject:
        problem = "it holds Python objects"
    elif dtype.type is np.record:
        problem = "keep array.view(numpy.ndarray).astype(array.dtype.descr), which has the same fields"
    elif np.lib.format.drop_metadata(dtype) is not dtype:
        problem = "its metadata would be lost"
    elif np.lib.format.descr_to_dtype(np.lib.format.dtype_to_descr(dtype)) != dtype:
        problem = f"numpy's own format does not know it; keep array.view('V{dtype.itemsize}') and the name of the dtype"
    else:
        return
    raise InvalidValueError(f"cannot keep a numpy array of dtype {dtype}: {problem}")


def _unpack_array(data: bytes) -> Any:
    if data.startswith(USUAL_ARRAY):
        start = CONTENT_AFTER + int.from_bytes(data[len(USUAL_ARRAY) : CONTENT_AFTER], "little")
        shape, is_fortran, dtype = _read_header(data[:start])
        count = math.prod(shape)
        if count > 0 and dtype.itemsize and dtype.names is None:  # names can be changed, in all arrays of the dtype
            content = np.frombuffer(data, dtype, count, start).copy()  # which can be changed
            return content.reshape(shape, order="F" if is_fortran else "C")
    # numpy's own bound on the header is there for files from strangers; many fields need more.
    return np.lib.format.read_array(io.BytesIO(data), allow_pickle=False, max_header_size=len(data))


@lru_cache(HEADERS)
def _read_header(data: bytes) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """The shape of an array, whether it is in Fortran's order, and its dtype.

    numpy evaluates the text that says so, which takes longer than all else that a small array needs.
    """
    header = io.BytesIO(data)
    np.lib.format.read_magic(header)
    shape, is_fortran, dtype = np.lib.format.read_array_header_1_0(header, max_header_size=len(data))
    return shape, is_fortran, dtype


def _is_large(value: Any, min_bytes: int) -> bool:
    return type(value) is np.ndarray and value.nbytes >= min_bytes


def _pack_place(array: Any, aside: _Aside) -> bytes:
    """Where the array stands beside the value, and what it is."""
    _validate_dtype(array.dtype)
    is_fortran = bool(array.flags.f_contiguous and not array.flags.c_contiguous)
    content = np.ascontiguousarray(array.T if is_fortran else array).reshape(-1).view(np.uint8)
    described = np.lib.format.dtype_to_descr(array.dtype)
    # An array file without content says as well what fields there are.
    kind = described if isinstance(described, str) else _pack_array(np.empty(0, array.dtype))
    return _pack([aside.put(content), kind, list(array.shape), is_fortran], None, 0)


def _unpack_place(data: bytes, unpack: Unpack, arrays: Arrays | None) -> Any:
    place, kind, shape, is_fortran = unpack(data)
    dtype = np.dtype(kind) if isinstance(kind, str) else _unpack_array(kind).dtype
    if arrays is None or dtype.hasobject:
        raise InvalidValueError("cannot decode a stored value: an array that should stand beside it does not")
    return np.ndarray(tuple(shape), dtype, arrays, place, order="F" if is_fortran else "C")


# Exact type -> its extension type, and how it is packed; what is in it is packed by the second argument.
_PACKERS: Final[dict[type, tuple[_Ext, Callable[[Any, Pack], bytes]]]] = {
    int: (_Ext.BIG_INT, lambda value, pack: f"{value:x}".encode()),  # only ints beyond 64 bits come here
    tuple: (_Ext.TUPLE, lambda value, pack: pack(list(value))),
    set: (_Ext.SET, lambda value, pack: pack(list(value))),
    frozenset: (_Ext.FROZENSET, lambda value, pack: pack(list(value))),
    dt.datetime: (_Ext.DATETIME, _pack_time),
    dt.date: (_Ext.DATE, lambda value, pack: value.isoformat().encode()),
    dt.time: (_Ext.TIME, _pack_time),
    dt.timedelta: (_Ext.TIMEDELTA, lambda value, pack: pack([value.days, value.seconds, value.microseconds])),
    Decimal: (_Ext.DECIMAL, lambda value, pack: str(value).encode()),
    UUID: (_Ext.UUID, lambda value, pack: value.bytes),
    complex: (_Ext.COMPLEX, lambda value, pack: pack([value.real, value.imag])),
    np.ndarray: (_Ext.NDARRAY, lambda value, pack: _pack_array(value)),
    # Not as arrays, which lose zeros at the end.
    np.bytes_: (_Ext.NUMPY_BYTES, lambda value, pack: bytes(value)),
    np.str_: (_Ext.NUMPY_STR, lambda value, pack: "".join(value).encode()),
}

_PLAIN: Final = (dict, list, tuple, set, frozenset, str, bytes, int, float)  # what a kind of it can be kept as

# Extension type -> the kind of class; the first that includes a class is taken.
_RECORDS: Final = {
    _Ext.ENUM: records.ENUM,
    _Ext.DATACLASS_STATE: records.DATACLASS,
    _Ext.NAMED_TUPLE: records.NAMED_TUPLE,
    _Ext.MODEL: records.MODEL,
}


def _unpack_record(kind: records.Kind, data: bytes, unpack: Unpack) -> Any:
    return records.unpack(kind, unpack(data))


# Extension type -> how it is unpacked; what is in it is unpacked by the second argument.
_UNPACKERS: Final[dict[int, Callable[[bytes, Unpack], Any]]] = {
    _Ext.BIG_INT: lambda data, unpack: int(data.decode(), 16),
    _Ext.TUPLE: lambda data, unpack: tuple(unpack(data)),
    _Ext.SET: lambda data, unpack: set(unpack(data)),
    _Ext.FROZENSET: lambda data, unpack: frozenset(unpack(data)),
    _Ext.DATETIME: partial(_unpack_time, dt.datetime),
    _Ext.DATE: lambda data, unpack: dt.date.fromisoformat(data.decode()),
    _Ext.TIME: partial(_unpack_time, dt.time),
    _Ext.TIMEDELTA: lambda data, unpack: dt.timedelta(*unpack(data)),
    _Ext.DECIMAL: lambda data, unpack: Decimal(data.decode()),
    _Ext.UUID: lambda data, unpack: UUID(bytes=data),
    _Ext.COMPLEX: lambda data, unpack: complex(*unpack(data)),
    _Ext.NDARRAY: lambda data, unpack: _unpack_array(data),
    _Ext.NUMPY_SCALAR: lambda data, unpack: _unpack_array(data)[()],
    _Ext.DATACLASS: partial(_unpack_record, records.OLD_DATACLASS),
    _Ext.NUMPY_BYTES: lambda data, unpack: np.bytes_(data),
    _Ext.NUMPY_STR: lambda data, unpack: np.str_(data.decode()),
    **{code: partial(_unpack_record, kind) for code, kind in _RECORDS.items()},
    _Ext.VALUE_TYPE: lambda data, unpack: value_types.unpack(*unpack(data)),
}


def _pack_other(aside: _Aside | None, left: int, value: Any) -> Any:
    if aside is not None and _is_large(value, aside.min_bytes):
        return msgpack.ExtType(_Ext.ARRAY_ASIDE, _pack_place(value, aside))
    cls = type(value)
    packer = _PACKERS.get(cls)
    if packer is not None:
        code, pack_value = packer
        return msgpack.ExtType(code, pack_value(value, partial(_pack, aside=aside, left=left)))
    if isinstance(value, np.generic) and cls is np.dtype(value.dtype.str).type:
        return msgpack.ExtType(_Ext.NUMPY_SCALAR, _pack_array(value))
    code, data = _taken_apart(value)
    if left == 0:
        raise InvalidValueError(TOO_DEEP)
    parts = [part for one in data for part in (one.values() if type(one) is dict else [one])]
    try:
        return msgpack.ExtType(code, _pack(data, aside, _levels_left(parts, left - 1)))
    except InvalidValueError as error:
        raise error if str(error) == TOO_DEEP else InvalidValueError(f"{cls.__qualname__}: {error}") from None


def _taken_apart(value: Any) -> tuple[_Ext, list[Any]]:
    cls: Any = type(value)
    row = value_types.value_type_of(cls)
    if row is not None:
        return _Ext.VALUE_TYPE, value_types.pack(row, value)
    for code, kind in _RECORDS.items():
        if kind.includes(cls):
            return code, records.pack(kind, value)
    name = cls.__qualname__ if cls.__module__ == "builtins" else f"{cls.__module__}.{cls.__qualname__}"
    plain = next((f": keep {base.__name__}(value)" for base in _PLAIN if issubclass(cls, base)), "")
    raise InvalidValueError(f"cannot keep a value of type {name}{plain}; values are data: {SUPPORTED}")


def _unpack_other(depth: int, arrays: Arrays | None, code: int, data: bytes) -> Any:
    unpack = partial(_unpack, depth=depth, arrays=arrays)
    if code == _Ext.ARRAY_ASIDE:
        return _unpack_place(data, unpack, arrays)
    unpacker = _UNPACKERS.get(code)
    if unpacker is None:
        raise InvalidValueError(f"unknown extension type {code}; was it written by a newer version?")
    return unpacker(bytes(data), unpack)
