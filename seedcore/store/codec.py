"""Turns values into bytes and back, as data: decoding never runs code that came with the value.

The bytes are msgpack. Types that msgpack does not have travel as its extension types, numbered in `_Ext`. Large arrays
can be left out of the bytes, to stand beside them.
"""

import dataclasses
import datetime as dt
import io
import sys
from collections.abc import Callable, Iterable
from decimal import Decimal
from enum import Enum, Flag, IntEnum
from functools import cache, partial
from importlib import import_module
from pkgutil import resolve_name
from typing import Any, Final, NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

import msgpack
import numpy as np
from numpy.typing import NDArray

from seedcore.application import declared
from seedcore.errors import InvalidValueError

SUPPORTED: Final = (
    "None, bool, int, float, str, bytes, list, tuple, set, frozenset, dict, datetime, date, time, timedelta, Decimal, "
    "UUID, complex, numpy arrays and scalars without objects, enums and dataclasses"
)

MAX_DEPTH: Final = (
    100  # of nesting; the C stack holds about twice as many nested extension types, and JSON as many lists
)

ALIGNMENT: Final = 64  # bytes; each array that stands beside its value starts at a multiple, as numpy's own do

MAX_SMALL_PARTS: Final = 200
MAX_SMALL_LENGTH: Final = 4096  # of a string or of bytes
USUAL_SCALARS: Final = frozenset({type(None), bool, int, float})  # quicker to look up
SCALARS: Final = (type(None), int, float, complex, dt.date, dt.time, dt.timedelta, Decimal, UUID)

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
    DATACLASS = 14
    NUMPY_BYTES = 15
    NUMPY_STR = 16
    ARRAY_ASIDE = 17
    ENUM = 18


def encode(value: Any) -> bytes:
    """Bytes that `decode` turns back into an equal value.

    Raises:
        InvalidValueError: the value, or something in it, is of a type that is not data, or it is nested too deeply.
    """
    return _encode(value, None)


def encode_aside(value: Any, min_bytes: int) -> tuple[bytes, list[Arrays]]:
    """`encode` without the large arrays in the value.

    Args:
        value: what to encode.
        min_bytes: of an array that is left out.

    Returns:
        the bytes, and the arrays, each of shape (N,) and without a copy where numpy allows that. To decode them, put
        each at the first multiple of `ALIGNMENT` after the one before; see `WithArrays`.

    Raises:
        InvalidValueError: as `encode`.
    """
    arrays: list[Arrays] = []
    return _encode(value, _Aside(min_bytes, arrays)), arrays


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


def aligned(place: int) -> int:
    """The first multiple of `ALIGNMENT` from there on."""
    return -(-place // ALIGNMENT) * ALIGNMENT


def _encode(value: Any, aside: _Aside | None) -> bytes:
    try:
        _validate_depth(value, MAX_DEPTH)
        return _pack(value, aside)
    except InvalidValueError:
        raise
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise InvalidValueError(f"cannot keep a value of type {type(value).__name__}: {error}") from error


def decode(encoded: bytes | WithArrays) -> Any:
    """The value that was encoded.

    Raises:
        InvalidValueError: the bytes are damaged, or hold a dataclass that this process cannot import or make.
    """
    data, arrays = encoded if isinstance(encoded, WithArrays) else (encoded, None)
    try:
        return _unpack(data, MAX_DEPTH, arrays)
    except InvalidValueError:
        raise
    except Exception as error:  # of msgpack, numpy, the types' constructors, and the constructors of dataclasses
        raise InvalidValueError(f"cannot decode a stored value: {type(error).__name__}: {error}") from error


def _validate_depth(value: Any, depth: int) -> None:
    for child in _children(value):
        kind = type(child)
        if kind not in _FLAT and (kind in _CHILDREN or dataclasses.is_dataclass(kind)):
            if depth == 0:
                raise InvalidValueError(f"cannot keep a value that is nested more than {MAX_DEPTH} levels deep")
            _validate_depth(child, depth - 1)


def _children(value: Any) -> Iterable[Any]:
    children = _CHILDREN.get(type(value))
    if children is not None:
        return children(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return [getattr(value, field.name) for field in dataclasses.fields(value)]
    return ()


def _refuse_msgpack(value: Any) -> Iterable[Any]:
    raise InvalidValueError(f"cannot keep a msgpack.{type(value).__name__}; values are data: {SUPPORTED}")


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
}


def _pack(value: Any, aside: _Aside | None) -> bytes:
    # strict_types sends tuples and subclasses, such as numpy's float64, to _pack_other instead of flattening them.
    pack_other = _pack_other if aside is None else partial(_pack_other, aside=aside)
    return bytes(msgpack.packb(value, default=pack_other, strict_types=True, use_bin_type=True))


def _unpack(data: bytes, depth: int, arrays: Arrays | None) -> Any:
    # Each extension type in another is a new parser on the stack, so bytes from elsewhere must not choose how many.
    if depth < 0:
        raise InvalidValueError(f"cannot decode a stored value: it is nested more than {MAX_DEPTH} levels deep")
    unpack_other = partial(_unpack_other, depth - 1, arrays)
    return msgpack.unpackb(data, ext_hook=unpack_other, strict_map_key=False, use_list=True)


def _pack_time(value: dt.datetime | dt.time, pack: Pack) -> bytes:
    zone = getattr(value.tzinfo, "key", None)  # a zoneinfo zone keeps its name, a fixed offset its offset
    return pack([value.isoformat(), value.fold, zone])


def _unpack_time(kind: type[dt.datetime] | type[dt.time], data: bytes, unpack: Unpack) -> dt.datetime | dt.time:
    text, fold, zone = unpack(data)
    value = kind.fromisoformat(text).replace(fold=fold)
    return value.replace(tzinfo=ZoneInfo(zone)) if zone else value


def _pack_array(value: Any) -> bytes:
    buffer = io.BytesIO()
    try:
        np.lib.format.write_array(buffer, np.asarray(value), allow_pickle=False)
    except ValueError as error:
        raise InvalidValueError(f"cannot keep a numpy array of dtype {value.dtype}: it holds Python objects") from error
    return buffer.getvalue()


def _unpack_array(data: bytes) -> Any:
    # numpy's own bound on the header is there for files from strangers; many fields need more.
    return np.lib.format.read_array(io.BytesIO(data), allow_pickle=False, max_header_size=len(data))


def _is_large(value: Any, min_bytes: int) -> bool:
    return type(value) is np.ndarray and value.nbytes >= min_bytes and not value.dtype.hasobject


def _pack_place(array: Any, aside: _Aside) -> bytes:
    """Where the array stands beside the value, and what it is."""
    is_fortran = bool(array.flags.f_contiguous and not array.flags.c_contiguous)
    content = np.ascontiguousarray(array.T if is_fortran else array).reshape(-1).view(np.uint8)
    described = np.lib.format.dtype_to_descr(array.dtype)
    # An array file without content says as well what fields there are.
    kind = described if isinstance(described, str) else _pack_array(np.empty(0, array.dtype))
    return _pack([aside.put(content), kind, list(array.shape), is_fortran], None)


def _unpack_place(data: bytes, unpack: Unpack, arrays: Arrays | None) -> Any:
    place, kind, shape, is_fortran = unpack(data)
    dtype = np.dtype(kind) if isinstance(kind, str) else _unpack_array(kind).dtype
    if arrays is None or dtype.hasobject:
        raise InvalidValueError("cannot decode a stored value: an array that should stand beside it does not")
    return np.ndarray(tuple(shape), dtype, arrays, place, order="F" if is_fortran else "C")


def _pack_dataclass(value: Any, pack: Pack) -> bytes:
    fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    return pack([*_name_of_class(value, "a dataclass"), fields])


def _pack_enum(value: Enum, pack: Pack) -> bytes:
    # By the name, as Python's own pickle does: what a member stands for may change. Several flags have no name.
    return pack([*_name_of_class(value, "an enum"), value.value if isinstance(value, Flag) else value.name])


def _name_of_class(value: Any, kind: str) -> tuple[str, str]:
    cls = type(value)
    if _find_class(cls.__module__, cls.__qualname__) is not cls:
        raise InvalidValueError(
            f"cannot keep a {cls.__qualname__}: {kind} must stand at the top level of a module, "
            f"and {cls.__module__} has none of this name"
        )
    return cls.__module__, cls.__qualname__


def _unpack_dataclass(data: bytes, unpack: Unpack) -> Any:
    module, qualname, values = unpack(data)
    cls = _find_class(module, qualname)
    if not (isinstance(cls, type) and dataclasses.is_dataclass(cls)):
        raise _no_class("a dataclass", module, qualname)
    init = {field.name: values[field.name] for field in dataclasses.fields(cls) if field.init and field.name in values}
    value = cls(**init)
    for field in dataclasses.fields(cls):
        if not field.init and field.name in values:
            object.__setattr__(value, field.name, values[field.name])
    return value


def _unpack_enum(data: bytes, unpack: Unpack) -> Any:
    module, qualname, member = unpack(data)
    cls = _find_class(module, qualname)
    if not (isinstance(cls, type) and issubclass(cls, Enum)):
        raise _no_class("an enum", module, qualname)
    return cls(member) if issubclass(cls, Flag) else cls[member]


def _no_class(kind: str, module: str, qualname: str) -> InvalidValueError:
    return InvalidValueError(
        f"the stored value is {kind} {module}.{qualname}, which this process cannot import; put its module on the "
        "PYTHONPATH, or its new name into MOVED in app/moved.py"
    )


def _find_class(module: str, qualname: str) -> Any:
    moved = _moved().get(f"{module}.{qualname}")
    try:
        if moved is not None:
            return resolve_name(moved)
        found: Any = sys.modules.get(module) or import_module(module)
        for part in qualname.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError):
        return None
    return found


@cache
def _moved() -> dict[str, str]:
    """The new name of each class that the application has moved since values of it were stored."""
    return declared("moved", "MOVED", dict) or {}


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
    _Ext.DATACLASS: _unpack_dataclass,
    _Ext.ENUM: _unpack_enum,
    _Ext.NUMPY_BYTES: lambda data, unpack: np.bytes_(data),
    _Ext.NUMPY_STR: lambda data, unpack: np.str_(data.decode()),
}


def _pack_other(value: Any, aside: _Aside | None = None) -> Any:
    if aside is not None and _is_large(value, aside.min_bytes):
        return msgpack.ExtType(_Ext.ARRAY_ASIDE, _pack_place(value, aside))
    pack = partial(_pack, aside=aside)
    packer = _PACKERS.get(type(value))
    if packer is not None:
        code, pack_value = packer
        return msgpack.ExtType(code, pack_value(value, pack))
    if isinstance(value, np.generic):
        return msgpack.ExtType(_Ext.NUMPY_SCALAR, _pack_array(value))
    if isinstance(value, Enum):
        return msgpack.ExtType(_Ext.ENUM, _pack_enum(value, pack))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return msgpack.ExtType(_Ext.DATACLASS, _pack_dataclass(value, pack))
    raise InvalidValueError(f"cannot keep a value of type {type(value).__name__}; values are data: {SUPPORTED}")


def _unpack_other(depth: int, arrays: Arrays | None, code: int, data: bytes) -> Any:
    unpack = partial(_unpack, depth=depth, arrays=arrays)
    if code == _Ext.ARRAY_ASIDE:
        return _unpack_place(data, unpack, arrays)
    unpacker = _UNPACKERS.get(code)
    if unpacker is None:
        raise InvalidValueError(f"unknown extension type {code}; was it written by a newer version?")
    return unpacker(bytes(data), unpack)
