import datetime as dt
import json
from base64 import b64encode
from decimal import Decimal
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given

from seedcore.api.json_values import to_json_value
from seedcore.api.models import ItemOut
from seedcore.errors import InvalidValueError
from seedcore.store.values.codec import MAX_SMALL_LENGTH, MAX_SMALL_PARTS, decode, encode, is_small
from tests.unit.deep_values import nested
from tests.unit.values import FrozenPoint, Pair, Point, Reading, json_values, same, values

ID = UUID("12345678123456781234567812345678")


@given(json_values)
def test_a_json_value_stays_exactly_what_it_is(value: Any) -> None:
    assert same(to_json_value(value), value)


@given(values)
def test_every_value_that_can_be_kept_can_be_shown(value: Any) -> None:
    try:
        shown = to_json_value(value)
    except InvalidValueError as error:
        if "would both be" not in str(error):
            raise
        return
    json.dumps(shown, allow_nan=False)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (b"\x00\xff", b64encode(b"\x00\xff").decode()),
        (bytearray(b"abc"), b64encode(b"abc").decode()),
        ((1, "two"), [1, "two"]),
        ({1}, [1]),
        (frozenset(["one"]), ["one"]),
        ({1: "one", None: 0, (1, 2): "pair"}, {"1": "one", "None": 0, "(1, 2)": "pair"}),
        (float("nan"), None),
        ([float("inf"), -float("inf"), 1.5], [None, None, 1.5]),
        (2**200, 2**200),
        (dt.datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=ZoneInfo("Europe/Berlin")), "2026-01-02T03:04:05.000006+01:00"),
        (dt.date(2026, 1, 2), "2026-01-02"),
        (dt.time(3, 4), "03:04:00"),
        (dt.timedelta(minutes=1, milliseconds=500), 60.5),
        (Decimal("1.10"), "1.10"),
        (ID, str(ID)),
        (1 + 2j, "(1+2j)"),
        (np.array([[1, 2], [3, 4]]), [[1, 2], [3, 4]]),
        (np.array(7), 7),
        (np.zeros((2, 0)), [[], []]),
        (np.array([1.5, np.nan]), [1.5, None]),
        (np.array([True]), [True]),
        (np.array([1 + 2j]), ["(1+2j)"]),
        (np.array(["a", "bc"]), ["a", "bc"]),
        (np.array([(1, b"x")], dtype=[("n", "i4"), ("b", "S1")]), [[1, b64encode(b"x").decode()]]),
        (np.datetime64("2026-01-02"), "2026-01-02"),
        (np.datetime64("NaT"), None),
        (np.array(["2026-01-02T03:04:05", "NaT"], "datetime64[ns]"), ["2026-01-02T03:04:05", None]),
        (np.timedelta64(1_500_000_000, "ns"), 1.5),
        (np.int64(5), 5),
        (np.float64(2.5), 2.5),
        (np.float32("inf"), None),
        (np.bool_(False), False),
        (np.longdouble(1.5), 1.5),
        (np.array([1.5], dtype=np.longdouble), [1.5]),
        (np.clongdouble(1 + 2j), "(1+2j)"),
        (Point(b"a", [FrozenPoint(1, 2)]), {"x": b64encode(b"a").decode(), "y": [{"x": 1, "y": 2}]}),
        (Reading(value=b"a", other=(1,)), {"value": [b64encode(b"a").decode()] * 2, "other": [1]}),
        (Pair(1, b"a"), [1, b64encode(b"a").decode()]),
        (dt.timezone(dt.timedelta(hours=1), "here"), [3600.0, "here"]),
        (ZoneInfo("Europe/Berlin"), "Europe/Berlin"),
        ({"deep": [{"deeper": (np.array([b"a"]),)}]}, {"deep": [{"deeper": [[b64encode(b"a").decode()]]}]}),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_other_values_have_the_nearest_readable_form(value: Any, shown: Any) -> None:
    assert same(to_json_value(value), shown)


@pytest.mark.parametrize(
    ("value", "keys"),
    [
        ({1: "a", "1": "b"}, "1 and '1'"),
        ([{"x": {None: 1, 2: 2, "None": 3}}], "None and 'None'"),
        (Point({True: 1, "True": 2}), "True and 'True'"),
        ({UUID(int=1): 1, str(UUID(int=1)): 2}, "UUID"),
    ],
)
def test_two_keys_that_would_be_one_are_refused(value: Any, keys: str) -> None:
    with pytest.raises(InvalidValueError, match=f"{keys}.*both be"):
        to_json_value(value)


@pytest.mark.parametrize("kind", ["list", "dict", "tuple"])
@pytest.mark.parametrize("depth", [20, 180, 300, 500])
def test_however_deep_a_value_that_is_kept_can_be_shown(kind: str, depth: int) -> None:
    try:
        kept = decode(encode(nested(kind, depth)))
    except InvalidValueError:
        assert depth > 20
        return
    shown = ItemOut(item_id="deep", value=to_json_value(kept), source="organ").model_dump_json()
    assert shown.count("{" if kind == "dict" else "[") >= depth


@pytest.mark.parametrize(
    ("value", "small"),
    [
        (None, True),
        (1.5, True),
        ("x" * MAX_SMALL_LENGTH, True),
        ("x" * (MAX_SMALL_LENGTH + 1), False),
        ({"a": [1, (2, {"b": b"x"})]}, True),
        ([0] * MAX_SMALL_PARTS, False),
        ([[0] * 20] * 20, False),
        ([["x" * (MAX_SMALL_LENGTH + 1)]], False),
        ({"x" * (MAX_SMALL_LENGTH + 1): 1}, False),
        (np.zeros(3), False),
        (10**30, True),
    ],
)
def test_small_values_are_told_from_large_ones(value: Any, small: bool) -> None:
    assert is_small(value) is small
