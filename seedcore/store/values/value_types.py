"""The table of types that are kept by a name: some of Python's, those of packages, and the application's own, whose
rows stand in `app/values.py`.
"""

import datetime as dt
import sys
from collections.abc import Callable, Sequence
from functools import cache, lru_cache
from operator import attrgetter
from typing import Any, Final, NamedTuple
from zoneinfo import ZoneInfo

from seedcore.application import declared, place_of
from seedcore.errors import InvalidAppError, InvalidValueError
from seedcore.store.values import frames, tensors


class ValueType(NamedTuple):
    """A type whose values are kept as data.

    Args:
        name: of the type in what is stored, for ever.
        cls: the class, or `package.Class` of a package that is not to be imported for it. Values of exactly this class
            are kept, not those of classes that inherit from it.
        to_data: what a value consists of, as values that can be kept. It may raise `InvalidValueError` for one that
            cannot.
        from_data: an equal value, from that.
        to_json: what is shown of a value over HTTP; None shows `to_data`.
    """

    name: str
    cls: type | str
    to_data: Callable[[Any], Any]
    from_data: Callable[[Any], Any]
    to_json: Callable[[Any], Any] | None = None


def _zone_to_data(zone: ZoneInfo) -> str:
    if zone.key is None:
        raise InvalidValueError("cannot keep a ZoneInfo that was made of a file: it has no name")
    return zone.key


def _offset_from_data(data: list[Any]) -> dt.timezone:
    plain = dt.timezone(data[0])
    return plain if plain.tzname(None) == data[1] else dt.timezone(*data)


OURS: Final = (
    ValueType("zoneinfo.ZoneInfo", ZoneInfo, _zone_to_data, ZoneInfo),
    ValueType(
        "datetime.timezone",
        dt.timezone,
        lambda zone: [zone.utcoffset(None), zone.tzname(None)],
        _offset_from_data,
    ),
    ValueType("pyarrow.Table", "pyarrow.Table", frames.table_to_data, frames.table_from_data, frames.table_to_json),
    ValueType(
        "pandas.DataFrame", "pandas.DataFrame", frames.frame_to_data, frames.frame_from_data, frames.frame_to_json
    ),
    ValueType("pandas.Series", "pandas.Series", frames.series_to_data, frames.series_from_data, frames.series_to_json),
    ValueType("pandas.Timestamp", "pandas.Timestamp", frames.time_to_data, frames.time_from_data),
    ValueType("pandas.Timedelta", "pandas.Timedelta", attrgetter("asm8"), frames.timedelta_from_data),
    ValueType("pandas.NaT", "pandas.api.typing.NaTType", lambda value: None, lambda data: frames.pandas().NaT),
    ValueType("pandas.NA", "pandas.api.typing.NAType", lambda value: None, lambda data: frames.pandas().NA),
    ValueType("torch.Tensor", "torch.Tensor", tensors.to_data, tensors.from_data, lambda tensor: tensor.tolist()),
)


@cache
def table() -> dict[str, ValueType]:
    """All rows by their names, those of `VALUES` in `app/values.py` as well.

    Raises:
        InvalidAppError: VALUES has something else than rows, or two of one name or class.
        Exception: what app/values.py itself raises when it is imported.
    """
    own: Sequence[Any] = declared("values", "VALUES", Sequence) or ()  # type: ignore[type-abstract]
    rows: dict[str, ValueType] = {}
    for row in (*OURS, *own):
        if not isinstance(row, ValueType):
            raise InvalidAppError(f"{place_of('values', 'VALUES')} must have ValueType(...) in it, not {row!r}")
        if row.name in rows or any(row.cls == other.cls for other in rows.values()):
            raise InvalidAppError(f"{place_of('values', 'VALUES')} has a second row for {row.name!r} or its class")
        rows[row.name] = row
    return rows


@lru_cache(maxsize=1024)
def value_type_of(cls: type) -> ValueType | None:
    """The row of a class; None if it has none."""
    return next((row for row in table().values() if _class_of(row) is cls), None)


def pack(row: ValueType, value: Any) -> list[Any]:
    """The name of a value's type, and what the value consists of.

    Raises:
        InvalidValueError: the row's `to_data` does not take it.
    """
    try:
        return [row.name, row.to_data(value)]
    except InvalidValueError:
        raise
    except Exception as error:  # of the user's function, or of the package
        raise InvalidValueError(f"cannot keep a {row.name}: {type(error).__name__}: {error}") from error


def unpack(name: str, data: Any) -> Any:
    """The value that was packed.

    Raises:
        InvalidValueError: this process has no row of the name, or lacks the package.
    """
    row = table().get(name)
    if row is None:
        raise InvalidValueError(f"the stored value is a {name}, for which VALUES in app/values.py has no row")
    try:
        value = row.from_data(data)
    except ImportError as error:
        raise InvalidValueError(
            f"the stored value is a {name}, and this process cannot import {error.name}: add it to "
            "app/requirements.txt, then `make lock` and `make up`"
        ) from error
    if type(value) is not _class_of(row):
        raise InvalidValueError(f"the stored value is a {name}, of which from_data made a {type(value).__qualname__}")
    return value


def _class_of(row: ValueType) -> Any:
    """None while nobody has imported its package."""
    if not isinstance(row.cls, str):
        return row.cls
    found: Any = None
    package, *names = row.cls.split(".")
    if package in sys.modules:
        found = sys.modules[package]
        for name in names:
            found = getattr(found, name, None)
    return found
