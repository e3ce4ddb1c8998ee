import dataclasses
import datetime as dt
import enum
import pickle
import struct
import subprocess
import sys
import threading
from collections import Counter, OrderedDict, deque, namedtuple
from collections.abc import Callable
from decimal import Decimal
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any, Generic, TypeVar
from unittest.mock import patch
from uuid import UUID
from zoneinfo import ZoneInfo

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field, PrivateAttr, RootModel

from seedcore.errors import InvalidValueError
from seedcore.settings import PROJECT_ROOT
from seedcore.store.values import classes
from seedcore.store.values.codec import WithArrays, aligned, aside_encoder, decode, encode
from tests.unit.deep_values import WRAPPERS, nested
from tests.unit.values import Celsius, Color, FrozenPoint, Pair, Point, Reading, Square, same, values

# Extension types as they are on disk: if one of these numbers changes, items of older versions cannot be read.
BIG_INT, DATETIME, TIME, TIMEDELTA, DECIMAL, UUID_, COMPLEX, NDARRAY, DATACLASS = 1, 5, 7, 8, 9, 10, 11, 12, 14
ENUM, STATE, NAMED_TUPLE, MODEL = 18, 19, 20, 21
UNKNOWN = 99

T = TypeVar("T")
MODEST_DEPTH = 20  # of nesting, that everybody expects to work

# numpy's word on field names that are not Latin-1
pytestmark = pytest.mark.filterwarnings("ignore:Stored array in format 3.0")

MODULE = __name__
calls: list[str] = []


def function() -> None:
    calls.append("function")


class NoDataclass:
    def __init__(self) -> None:
        calls.append("NoDataclass")


@dataclasses.dataclass
class Even:
    """Refuses odd numbers, which it may not have done when the value was stored."""

    number: int

    def __post_init__(self) -> None:
        if self.number % 2:
            raise ArithmeticError(f"{self.number} is odd")


class Bomb:
    """A pickle that makes a file when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[[Path], None], tuple[Path]]:
        return Path.touch, (self.path,)


class Number(int):
    pass


class Items(list[int]):
    pass


class Level(enum.IntEnum):
    LOW = 1


class Score(np.float64):
    pass


Misnamed = namedtuple("Other", "x")  # type: ignore[name-match]


class Zone(dt.tzinfo):
    def utcoffset(self, when: dt.datetime | None) -> dt.timedelta:
        return dt.timedelta(hours=1)

    def dst(self, when: dt.datetime | None) -> dt.timedelta:
        return dt.timedelta()

    def tzname(self, when: dt.datetime | None) -> str:
        return "here"


@dataclasses.dataclass
class Unset:
    number: int = dataclasses.field(init=False)


@dataclasses.dataclass
class Guarded:
    """Has something that is not data, beside its fields."""

    number: int

    def __post_init__(self) -> None:
        self.lock = threading.Lock()


@dataclasses.dataclass
class Heap(list[int]):
    limit: int


@dataclasses.dataclass
class RefusedError(Exception):
    reason: str


class Guard(BaseModel):
    _lock: Any = PrivateAttr(default_factory=threading.Lock)


class Box(BaseModel, Generic[T]):
    content: T


class IntBox(Box[int]):
    pass


class Tags(RootModel[list[str]]):
    pass


class Named(BaseModel):
    name: str = Field(alias="Name")
    note: str | None = None

    @cached_property
    def lock(self) -> Any:
        return threading.Lock()


@dataclasses.dataclass
class Sized:
    """Keeps its field under another name, and doubles what is set."""

    size: int

    @property  # type: ignore[no-redef]
    def size(self) -> int:
        return self._size

    @size.setter
    def size(self, size: int) -> None:
        self._size = size * 2


@dataclasses.dataclass(slots=True)
class Slotted:
    __secret: int


@dataclasses.dataclass(slots=True)
class MoreSlotted(Slotted):
    number: int = 0

    def __post_init__(self) -> None:
        self.number += 1


@dataclasses.dataclass
class Lazy(Generic[T]):
    number: T

    @cached_property
    def lock(self) -> Any:
        return threading.Lock()


class Later(Celsius):
    """A subclass that is no dataclass of its own, with an attribute of its own."""

    def __init__(self) -> None:
        super().__init__(80.0)
        self.when = (2026, 1)


class Grown(namedtuple("Grown", "left right")):
    def __new__(cls, left: int, right: int) -> "Grown":
        return super().__new__(cls, left * 2, right)


def grown() -> Grown:
    value = Grown(1, 2)
    value.note = "more"  # type: ignore[attr-defined]
    return value


def touched(value: Any) -> Any:
    """With what it computes once."""
    assert value.lock
    return value


def a_value_of_the_program() -> object:
    Own = dataclasses.make_dataclass("Own", ["x"])  # noqa: N806 - a class
    Own.__module__ = "__main__"
    with patch.object(sys.modules["__main__"], "Own", Own, create=True):
        return Own(1)


def a_value_of_a_module_that_no_file_has() -> object:
    module: Any = ModuleType("made_by_hand")
    module.Own = dataclasses.make_dataclass("Own", ["x"])
    module.Own.__module__ = module.__name__
    sys.modules[module.__name__] = module
    return module.Own(1)


def ext(code: int, payload: bytes) -> bytes:
    """An extension type in msgpack's longest form, which has room for every code and payload."""
    return struct.pack(">BIb", 0xC9, len(payload), code) + payload


def packed(value: object) -> bytes:
    return bytes(msgpack.packb(value))


def npy(header: str, body: bytes = b"") -> bytes:
    """A file of numpy's own format, version 1.0."""
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode() + body


def dataclass_bytes(name: str, fields: object, module: str = MODULE) -> bytes:
    return ext(DATACLASS, packed([module, name, fields]))


class Size(enum.StrEnum):
    LARGE = "large"

    @classmethod
    def _missing_(cls, value: object) -> "Size":
        made = str.__new__(cls, str(value))
        made._name_ = made._value_ = str(value)
        return made


class Access(enum.Flag):
    READ = 1
    WRITE = 2


def an_enum_of_a_function() -> enum.Enum:
    class Local(enum.Enum):
        ONE = 1

    return Local.ONE


def a_dataclass_of_a_function() -> object:
    @dataclasses.dataclass
    class Local:
        number: int = 1

    return Local()


def an_impostor() -> object:
    """A dataclass that says to be another one, as after a reload of its module."""
    impostor: Any = dataclasses.make_dataclass(Point.__qualname__, ["x"])
    impostor.__module__ = Point.__module__
    return impostor(1)


def self_referencing_list() -> list[object]:
    value: list[object] = []
    value.append(value)
    return value


def self_referencing_in_a_tuple() -> list[object]:
    value: list[object] = []
    value.append((value,))
    return value


def self_referencing_point() -> Point:
    point = Point(1)
    point.x = [point]
    return point


# What comes back


@given(values)
def test_every_value_comes_back_the_same(value: object) -> None:
    assert same(decode(encode(value)), value)


@given(values, values)
def test_every_value_comes_back_the_same_with_its_arrays_beside_it(value: object, before: object) -> None:
    encode_aside = aside_encoder(1)
    of_before = encode_aside(before)
    with pytest.raises(InvalidValueError):
        encode_aside([np.arange(3), object()])
    data, arrays = encode_aside(value)
    assert encode_aside(before)[0] == of_before[0]
    beside = bytearray()
    for array in arrays:
        beside += bytes(aligned(len(beside)) - len(beside)) + array.tobytes()
    assert same(decode(WithArrays(data, np.frombuffer(beside, np.uint8))), value)
    if arrays:
        with pytest.raises(InvalidValueError):
            decode(data)
        with pytest.raises(InvalidValueError):
            decode(WithArrays(data, np.frombuffer(beside[:-1], np.uint8)))


@pytest.mark.parametrize(
    "value",
    [
        -0.0,
        float("nan"),
        complex(-0.0, float("inf")),
        2**63,
        2**64,
        -(2**63) - 1,
        10**4000,
        b"",
        "",
        "\x00 Grüße 🎭",
        {1: "int", "1": "str", None: 0, (1, 2): 0, b"k": 0, 1.5: 0, frozenset([1]): 0},
        dt.datetime(2026, 10, 25, 2, 30, tzinfo=ZoneInfo("Europe/Berlin")),
        dt.datetime(2026, 10, 25, 2, 30, fold=1, tzinfo=ZoneInfo("Europe/Berlin")),
        dt.datetime(1890, 1, 1, tzinfo=dt.timezone(dt.timedelta(minutes=53, seconds=28, microseconds=5))),
        Decimal("sNaN"),
        Decimal("-0.00"),
        dt.timedelta.max,
        np.float64(1.5),
        np.bool_(True),
        np.longdouble("0.1"),
        np.datetime64("NaT"),
        np.array(7),
        np.zeros((0, 3)),
        np.zeros((2, 0, 3), order="F"),
        np.array([1, 2], dtype=">i4"),
        np.zeros(2, dtype=[("name", "U3"), ("inner", [("x", "f4", (2,))])]),
        Square(3),
        Square.Corner(1),
        Celsius(80.0),
        Later(),
        MoreSlotted(3),
        Sized(3),
        Pair([1], {2}),
        grown(),
        Reading(value=1, other=(2,)),
        {Reading(value="key"): 1},
        IntBox(content=1),
        Tags(["a"]),
        Named(Name="n"),
        Named.model_construct(name=1),  # type: ignore[arg-type]
        np.array(["2026"], "M8[25s]"),
        dt.timezone(dt.timedelta(hours=1), "here"),
        ZoneInfo("Europe/Berlin"),
        dt.datetime(2026, 1, 1, tzinfo=dt.timezone(dt.timedelta(hours=1), "here")),
        dt.time(1, tzinfo=dt.timezone(dt.timedelta(hours=1), "here")),
    ],
    ids=repr,
)
def test_a_value_at_the_edge_comes_back_the_same(value: object) -> None:
    assert same(decode(encode(value)), value)


@pytest.mark.parametrize("value", [Lazy[int](1), touched(Lazy(1)), touched(Named(Name="n"))], ids=repr)
def test_what_a_value_computes_again_is_not_kept(value: Any) -> None:
    back = decode(encode(value))
    assert type(back) is type(value)
    assert back == type(value)(**({"number": 1} if isinstance(value, Lazy) else {"Name": "n"}))
    assert "lock" not in vars(back)


@pytest.mark.parametrize("order", ["C", "F"])
def test_an_array_keeps_its_memory_order_and_can_be_written(order: Any) -> None:
    array = np.arange(6.0).reshape(2, 3).copy(order=order)
    back = decode(encode(array))
    assert back.flags[f"{order}_CONTIGUOUS"]
    back[0, 0] = 5


def test_what_comes_back_is_never_the_same_object() -> None:
    inner = [1]
    back = decode(encode({"inner": inner}))
    back["inner"].append(2)
    assert inner == [1]


def test_a_time_keeps_its_zone() -> None:
    value = dt.time(12, tzinfo=ZoneInfo("Europe/Berlin"))
    assert same(decode(encode(value)), value)


@pytest.mark.parametrize("value", [np.bytes_(b"a\x00"), np.str_("a\x00")], ids=["bytes_", "str_"])
def test_a_numpy_string_keeps_its_zeros(value: Any) -> None:
    assert len(decode(encode(value))) == len(value)


def test_an_array_with_many_fields_can_be_read_again() -> None:
    array = np.zeros(1, dtype=[(f"field_{number}", "f8") for number in range(600)])
    assert same(decode(encode(array)), array)


def test_no_depth_of_nesting_ends_the_process_or_is_kept_but_cannot_be_read() -> None:
    program = subprocess.run(
        [sys.executable, "-m", "tests.unit.deep_values"], cwd=PROJECT_ROOT, capture_output=True, text=True, timeout=60
    )
    assert program.returncode == 0, f"died with {program.returncode} after {program.stdout.splitlines()[-1]!r}"
    outcomes = [line.split("\t") for line in program.stdout.splitlines()]
    unreadable = [(kind, depth) for kind, depth, outcome in outcomes if outcome == "not read" and kind != "by hand"]
    assert unreadable == []
    refused = [(kind, depth) for kind, depth, outcome in outcomes if outcome != "read" and int(depth) <= MODEST_DEPTH]
    assert refused == []


# What a class that has changed since makes of a stored value


@pytest.mark.parametrize(
    ("code", "name", "parts", "now"),
    [
        (STATE, "Point", [{"x": 1, "gone": 2}, {}], Point(1, None)),
        (STATE, "FrozenPoint", [{"x": 1}, {}], "had y"),
        (NAMED_TUPLE, "Pair", [{"left": 1, "gone": 2}, {}], Pair(1, None)),
        (NAMED_TUPLE, "Pair", [{"right": 1}, {}], "had left"),
        (MODEL, "Reading", [{}, {"extra": None, "private": None, "set": []}], "had value"),
    ],
)
def test_fields_come_and_go(code: int, name: str, parts: list[object], now: object) -> None:
    data = ext(code, packed([Point.__module__, name, *parts]))
    if isinstance(now, str):
        with pytest.raises(InvalidValueError, match=f"{now}; give"):
            decode(data)
    else:
        assert same(decode(data), now)


def test_a_field_that_a_model_has_now_has_its_default() -> None:
    back = decode(ext(MODEL, packed([MODULE, "Named", {"name": "n"}, {"extra": None, "private": None, "set": []}])))
    assert back == Named(Name="n")


def test_what_was_stored_until_0_2_is_as_it_was_set_too() -> None:
    back = decode(dataclass_bytes("Celsius", {"degrees": 26.67}, Celsius.__module__))
    assert (back.degrees, back.noted) == (26.67, {"scale": 1.0})


def test_a_field_that_was_added_with_a_default_has_the_default() -> None:
    assert decode(dataclass_bytes("Point", {"x": 1}, Point.__module__)) == Point(1, None)


def test_a_field_that_was_removed_is_left_out() -> None:
    assert decode(dataclass_bytes("Point", {"x": 1, "y": 2, "z": 3}, Point.__module__)) == Point(1, 2)


@pytest.mark.parametrize(
    ("name", "fields"),
    [("FrozenPoint", {"x": 1}), ("Even", {"number": 1})],
    ids=["a field was added without a default", "its constructor refuses the value now"],
)
def test_a_dataclass_that_cannot_be_made_any_more_is_explained(name: str, fields: object) -> None:
    module = {"FrozenPoint": FrozenPoint.__module__}.get(name, MODULE)
    with pytest.raises(InvalidValueError):
        decode(dataclass_bytes(name, fields, module))


@pytest.mark.parametrize(
    ("module", "name"), [("no.such.module", "Plan"), (MODULE, "NoSuchClass"), (MODULE, "Even.number.missing")]
)
def test_a_dataclass_that_cannot_be_imported_is_named(module: str, name: str) -> None:
    with pytest.raises(InvalidValueError, match=f"{module}.{name}.*PYTHONPATH"):
        decode(dataclass_bytes(name, {}, module))


def test_a_class_that_was_moved_is_found_under_its_new_name() -> None:
    here = f"{MODULE}.Even"
    moved = {"old.plans.Even": here, "old.plans.Shade": f"{Color.__module__}.Color"}
    data = dataclass_bytes("Even", {"number": 2}, "old.plans")
    with pytest.raises(InvalidValueError, match=r"old\.plans\.Even.*app/moved\.py"):
        decode(data)
    with patch.object(classes, "_moved", lambda: moved):
        assert decode(data) == Even(2)
        assert decode(ext(ENUM, packed(["old.plans", "Shade", "RED"]))) is Color.RED


# Enums


@pytest.mark.parametrize("value", [Color.RED, Size.LARGE, Level.LOW, Access.READ, Access.READ | Access.WRITE])
def test_an_enum_comes_back_as_its_member(value: enum.Enum) -> None:
    assert decode(encode(value)) is value
    assert decode(encode([{value: value}])) == [{value: value}]


def test_an_enum_without_the_member_any_more_is_refused() -> None:
    with pytest.raises(InvalidValueError, match="GONE"):
        decode(ext(ENUM, packed([Color.__module__, "Color", "GONE"])))
    with pytest.raises(InvalidValueError, match="PYTHONPATH"):
        decode(ext(ENUM, packed([Color.__module__, "Point", "RED"])))


# What is refused


@pytest.mark.parametrize(
    "value",
    [
        object(),
        function,
        NoDataclass,
        Point,
        iter([1]),
        range(3),
        Path("/"),
        ...,
        Number(1),
        Items(),
        an_enum_of_a_function(),
        Misnamed(1),
        OrderedDict(),
        Counter("a"),
        deque([1]),
        bytearray(b"x"),
        memoryview(b"x"),
        Score(1.0),
        np.longlong(1),  # which would come back as np.int64
        np.rec.array([(1,)], dtype=[("x", "i4")]),
        np.rec.array([(1,)], dtype=[("x", "i4")])[0],
        np.zeros(1, np.dtype("i4", metadata={"unit": "m"})),
        np.array(["x"], np.dtypes.StringDType()),
        dt.datetime(2026, 1, 1, tzinfo=Zone()),
        dt.time(1, tzinfo=Zone()),
        Unset(),
        Guarded(1),
        Heap(1),
        RefusedError("no"),
        Guard(),
        Box[int](content=1),
        Size("unknown"),
        a_value_of_the_program(),
        a_value_of_a_module_that_no_file_has(),
        np.array([object()]),
        np.zeros(1, dtype=[("x", "O")]),
        np.ma.masked_array([1], mask=[True]),
        a_dataclass_of_a_function(),
        an_impostor(),
        "\ud800",
    ],
    ids=lambda value: type(value).__name__,
)
@pytest.mark.parametrize("wrap", [lambda value: value, lambda value: {"key": [value]}], ids=["bare", "inside"])
def test_what_is_not_data_is_refused(value: object, wrap: Callable[[object], object]) -> None:
    with pytest.raises(InvalidValueError):
        encode(wrap(value))


@pytest.mark.parametrize(
    ("value", "word"), [(object(), "object"), (Number(1), "Number"), (deque(), "collections.deque")]
)
def test_a_refusal_names_the_type_and_what_is_allowed(value: object, word: str) -> None:
    with pytest.raises(InvalidValueError, match=f"{word}.*numpy arrays"):
        encode({"key": value})


@pytest.mark.parametrize("kind", WRAPPERS)
def test_too_deep_nesting_is_refused(kind: str) -> None:
    with pytest.raises(InvalidValueError):
        encode(nested(kind, 100_000))


@pytest.mark.parametrize("make", [self_referencing_list, self_referencing_in_a_tuple, self_referencing_point])
def test_a_value_that_contains_itself_is_refused(make: Callable[[], object]) -> None:
    with pytest.raises(InvalidValueError):
        encode(make())


# Damaged bytes

plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=8) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
payloads = st.one_of(
    st.binary(),
    plain.map(packed),
    st.text().map(str.encode),
    st.text("{}()[]'descr:<f8|O,shape 19-\"#\n").map(npy),
)


def reads_or_refuses(data: bytes) -> None:
    try:
        decode(data)
    except InvalidValueError:
        return


@given(st.binary())
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    reads_or_refuses(data)


@given(st.integers(-1, 20), payloads)
def test_any_payload_of_an_extension_type_is_read_or_refused(code: int, payload: bytes) -> None:
    reads_or_refuses(ext(code, payload))


@given(values, st.data())
def test_truncated_bytes_are_refused(value: object, data: st.DataObject) -> None:
    encoded = encode(value)
    length = data.draw(st.integers(0, len(encoded) - 1))
    with pytest.raises(InvalidValueError):
        decode(encoded[:length])


@given(values, st.data())
def test_bytes_with_a_flipped_bit_are_read_or_refused(value: object, data: st.DataObject) -> None:
    damaged = bytearray(encode(value))
    position = data.draw(st.integers(0, len(damaged) - 1))
    damaged[position] ^= 1 << data.draw(st.integers(0, 7))
    reads_or_refuses(bytes(damaged))


def shaped(shape: str) -> bytes:
    """An array of doubles of this shape, without its elements."""
    return ext(NDARRAY, npy(f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}}}"))


DAMAGED = {
    "nothing": b"",
    "a byte that msgpack does not use": b"\xc1",
    "a value and more": packed(1) + b"more",
    "lists without an end": b"\x91" * 100_000,
    "an unknown type": ext(UNKNOWN, b""),
    "an int of letters": ext(BIG_INT, b"ten"),
    "a datetime in words": ext(DATETIME, packed(["yesterday", 0, None])),
    "a datetime of few members": ext(DATETIME, packed(["2026-01-01T00:00:00"])),
    "a zone that is nowhere": ext(DATETIME, packed(["2026-01-01T00:00:00", 0, "No/Where"])),
    "a zone that is a path": ext(DATETIME, packed(["2026-01-01T00:00:00", 0, "../../etc/passwd"])),
    "a large fold": ext(DATETIME, packed(["2026-01-01T00:00:00", 2**63, "UTC"])),
    "a time after midnight": ext(TIME, packed(["25:00", 0])),
    "a timedelta of aeons": ext(TIMEDELTA, packed([10**12, 0, 0])),
    "a decimal in words": ext(DECIMAL, b"ten"),
    "a short UUID": ext(UUID_, b"short"),
    "a complex of a list": ext(COMPLEX, packed([[], 1])),
    "no array": ext(NDARRAY, b"no array"),
    "an array with half a header": ext(NDARRAY, npy("{")),
    "an array without its elements": shaped("(9,)"),
    "an array of petabytes": shaped("(1000000000000000,)"),
    "an array beyond all numbers": shaped("(99999999999999999999,)"),
    "an array of negative length": shaped("(-1,)"),
    "a dataclass without a name": ext(DATACLASS, packed("no list")),
    "a dataclass without fields": dataclass_bytes("Even", "no fields"),
    "a dataclass with an empty name": dataclass_bytes("", {}),
    "a dataclass of no module": dataclass_bytes("Even", {}, module=""),
    "a dataclass of a relative module": dataclass_bytes("Even", {}, module="..relative"),
}


@pytest.mark.parametrize("data", DAMAGED.values(), ids=DAMAGED.keys())
def test_damaged_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(InvalidValueError):
        decode(data)


def test_a_pickle_is_not_loaded(tmp_path: Path) -> None:
    made = tmp_path / "made"
    data = pickle.dumps(Bomb(made))
    reads_or_refuses(data)
    with pytest.raises(InvalidValueError):
        decode(ext(NDARRAY, npy("{'descr': '|O', 'fortran_order': False, 'shape': (1,)}", data)))
    assert not made.exists()
    pickle.loads(data)  # noqa: S301 - its own
    assert made.exists(), "the bomb does not work"


@pytest.mark.parametrize("name", ["function", "NoDataclass", "Even.__init__", "calls.clear"])
def test_only_a_dataclass_is_ever_called(name: str) -> None:
    calls[:] = ["before"]
    with pytest.raises(InvalidValueError):
        decode(dataclass_bytes(name, {}))
    assert calls == ["before"]


def test_bytes_on_disk_are_read_for_ever() -> None:
    assert decode(ext(BIG_INT, b"10000000000000000")) == 2**64
    assert decode(ext(UUID_, b"\x01" * 16)) == UUID(bytes=b"\x01" * 16)
    assert decode(ext(DATETIME, packed(["2026-01-01T00:00:00", 1, None]))) == dt.datetime(2026, 1, 1, fold=1)
    assert decode(ext(TIMEDELTA, packed([1, 2, 3]))) == dt.timedelta(1, 2, 3)


def test_who_renames_the_fields_of_an_array_renames_them_in_no_other() -> None:
    data = encode(np.zeros(2, [("a", "i4"), ("b", "f8")]))
    decode(data).dtype.names = ("x", "y")
    assert decode(data).dtype.names == ("a", "b")


def test_an_array_that_is_cut_short_is_refused() -> None:
    for damaged in (encode(np.arange(6))[:-1], encode(np.arange(6)).replace(b"(6,)", b"(9,)")):
        with pytest.raises(InvalidValueError):
            decode(damaged)
