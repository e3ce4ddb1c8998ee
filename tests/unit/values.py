"""Values that the working memory keeps, at random, and what it means that one came back the same."""

import dataclasses
import datetime as dt
import math
from collections.abc import Hashable, Iterable
from decimal import Decimal
from enum import Enum, IntEnum, IntFlag
from typing import Any, NamedTuple

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from pydantic import BaseModel, ConfigDict, PrivateAttr, field_validator


@dataclasses.dataclass
class Point:
    x: Any
    y: Any = None


@dataclasses.dataclass(frozen=True, slots=True)
class FrozenPoint:
    x: Any
    y: Any


@dataclasses.dataclass
class Square:
    side: int
    area: int = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        self.area = self.side**2

    @dataclasses.dataclass
    class Corner:
        number: int


@dataclasses.dataclass
class Celsius:
    """Takes degrees Fahrenheit, and converts them whenever it is made."""

    degrees: float
    scale: dataclasses.InitVar[float] = 1.0

    def __post_init__(self, scale: float) -> None:
        self.degrees = (self.degrees - 32) * 5 / 9 * scale
        self.noted = {"scale": scale}


class Pair(NamedTuple):
    left: Any
    right: Any = None


class Reading(BaseModel):
    """Doubles what it is given, and counts how often it was made."""

    model_config = ConfigDict(extra="allow", frozen=True)
    value: Any
    _made: int = PrivateAttr(default=0)

    @field_validator("value")
    @classmethod
    def double(cls, value: Any) -> Any:
        return (value, value)

    def model_post_init(self, context: Any, /) -> None:
        self._made += 1


class Color(Enum):
    RED = 1


class Level(IntEnum):
    LOW = 1


class Access(IntFlag):
    READ = 1
    WRITE = 2


offsets = st.integers(-86_399, 86_399).map(lambda seconds: dt.timezone(dt.timedelta(seconds=seconds)))
folds = st.sampled_from([0, 1])
datetimes = st.builds(
    lambda value, fold: value.replace(fold=fold), st.datetimes(timezones=st.none() | offsets | st.timezones()), folds
)
times = st.builds(lambda value, fold: value.replace(fold=fold), st.times(timezones=st.none() | offsets), folds)

json_scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
json_values = st.recursive(
    json_scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=10
)

hashable_scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(min_value=2**64) | st.integers(max_value=-(2**63) - 1),
    st.floats(),
    st.text(),
    st.binary(),
    datetimes,
    st.dates(),
    times,
    st.timedeltas(),
    st.decimals().filter(lambda value: not value.is_snan()),
    st.uuids(),
    st.complex_numbers(),
    st.sampled_from([Color.RED, Level.LOW, Access.READ | Access.WRITE, Access(64)]),
)
hashables: st.SearchStrategy[Hashable] = st.recursive(
    hashable_scalars,
    lambda inner: st.one_of(
        st.tuples(inner),
        st.frozensets(inner, max_size=3),
        st.builds(FrozenPoint, inner, inner),
        st.builds(Pair, inner, inner),
    ),
    max_leaves=4,
)

dtypes = st.one_of(
    npst.scalar_dtypes(),
    npst.unicode_string_dtypes(max_len=5),
    npst.byte_string_dtypes(max_len=5),
    npst.array_dtypes(max_size=3),
)
arrays = st.one_of(
    npst.arrays(dtypes, npst.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3)),
    npst.arrays(dtypes, npst.array_shapes(min_dims=2, max_dims=3, max_side=3)).map(np.asfortranarray),
    npst.arrays(dtypes, npst.array_shapes(max_dims=2, min_side=2, max_side=4)).map(lambda array: array[::2]),
)
numpy_scalars = npst.arrays(dtypes, ()).map(lambda array: array[()])

values: st.SearchStrategy[Any] = st.recursive(
    hashable_scalars | arrays | numpy_scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.dictionaries(hashables, inner, max_size=4),
        st.sets(hashables, max_size=4),
        st.builds(Point, inner, inner),
        st.builds(Pair, inner, inner),
        st.builds(lambda value, other: Reading(value=value, other=other), inner, inner),
        st.floats().map(Celsius),
    ),
    max_leaves=8,
)


def same(left: Any, right: Any) -> bool:
    """Whether a value is the other one in every respect that its user could see; stricter than `==`."""
    if type(left) is not type(right):
        return False
    match left:
        case Enum():
            return left is right
        case _ if isinstance(left, np.longdouble):  # its bytes have gaps, with anything in them
            return bool(left == right)
        case np.ndarray() | np.generic():
            return bool(left.dtype == right.dtype and left.shape == right.shape and left.tobytes() == right.tobytes())
        case float():
            return _same_float(left, right)
        case complex():
            return _same_float(left.real, right.real) and _same_float(left.imag, right.imag)
        case list() | tuple():
            return _same_sequence(left, right)
        case dict():
            return _same_sequence(left.items(), right.items())
        case set() | frozenset():
            return len(left) == len(right) and all(any(same(one, other) for other in right) for one in left)
        case dt.datetime() | dt.time():
            return (
                left.replace(tzinfo=None) == right.replace(tzinfo=None)
                and left.fold == right.fold
                and left.utcoffset() == right.utcoffset()
                and getattr(left.tzinfo, "key", None) == getattr(right.tzinfo, "key", None)
            )
        case Decimal():
            return bool(left.as_tuple() == right.as_tuple())
        case BaseModel():
            return same(left.__getstate__(), right.__getstate__())
        case _ if dataclasses.is_dataclass(left):
            return same(object.__getstate__(left), object.__getstate__(right))
    return bool(left == right)


def _same_float(left: float, right: float) -> bool:
    if math.isnan(left) or math.isnan(right):
        return math.isnan(left) and math.isnan(right)
    return left == right and math.copysign(1, left) == math.copysign(1, right)


def _same_sequence(left: Iterable[Any], right: Iterable[Any]) -> bool:
    lefts, rights = list(left), list(right)
    return len(lefts) == len(rights) and all(map(same, lefts, rights))
