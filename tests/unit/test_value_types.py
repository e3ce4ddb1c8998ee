"""What is kept comes back, in whichever process; values of packages; and types that the application adds."""

import asyncio
import json
import os
import pickle
import sqlite3
import subprocess
import sys
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import closing
from fractions import Fraction
from importlib import import_module
from pathlib import Path, PosixPath
from typing import Any
from unittest.mock import patch

import httpx
import msgpack
import numpy as np
import pytest
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings

from seedcore import MwManager, UnreadableItemsError, ValueType, application
from seedcore.api import items
from seedcore.api.app import create_app
from seedcore.api.json_values import to_json_value
from seedcore.errors import InvalidAppError, InvalidValueError, ItemDamagedError
from seedcore.settings import PROJECT_ROOT, load_settings
from seedcore.store.values import value_types
from seedcore.store.values.codec import aside_encoder, decode, encode
from tests.unit.kept_values import OF_PACKAGES, is_same, kept_values
from tests.unit.package_values import pa, pd, torch
from tests.unit.values import Pair, Point, json_values, same

NOT_HERE = "is in no group of this project's dependencies, and not installed"
DEADLINE_S = 240


def in_a_process(verb: str, folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "tests.unit.kept_values", verb],
        cwd=PROJECT_ROOT,
        env={**os.environ, "STATE_DIR": str(folder)},
        stdout=subprocess.PIPE,
        text=True,
        timeout=DEADLINE_S,
        check=True,
    )
    return done.stdout.strip()


def test_what_a_process_sets_another_one_gets(tmp_path: Path) -> None:
    assert in_a_process("set", tmp_path) == "[]"
    assert in_a_process("get", tmp_path) == "[]"


@given(json_values)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_what_went_in_over_http_comes_out_of_it(http: httpx.Client, value: Any) -> None:
    assert http.put("/organs/o/items/item", json={"value": value}).json() == {"kept": 1}
    assert same(http.get("/organs/o/items/item").json()["value"], value)
    found = http.post("/organs/o/items/query", json={"item_ids": ["item"]}).json()
    assert same(found["items"][0]["value"], value)
    assert same(MwManager("o").get_item("item"), value)


@pytest.fixture
def http(memory_without_ray: None) -> Iterator[httpx.Client]:
    items._manager.cache_clear()
    client: Any = TestClient(create_app(), base_url="http://localhost")
    yield client
    client.close()
    items._manager.cache_clear()


# A broken item among others

BROKEN = bytes(msgpack.packb(msgpack.ExtType(14, msgpack.packb(["no.such.module", "Plan", {}]))))


def set_broken(memory: MwManager) -> None:
    """As a program would have set it whose module is not here."""
    memory.set_items({"good": 1, "two keys": {1: "a", "1": "b"}})
    memory.set_global_item("shared", 2)
    memory._own.set_many(memory.organ_id, {"broken": BROKEN}, None)


@pytest.mark.usefixtures("memory_without_ray")
async def test_a_broken_item_hides_no_other() -> None:
    memory = MwManager("organ")
    await asyncio.to_thread(set_broken, memory)
    wanted = ["broken", "good", "shared", "missing"]
    for get, found in (
        (lambda: memory.get_items_async(wanted), {"good": 1, "shared": 2}),
        (lambda: memory.find_items_async(wanted), {"good": (1, "organ"), "shared": (2, "shared")}),
    ):
        with pytest.raises(UnreadableItemsError, match=r"1 of 3 items.*'broken'.*no\.such\.module\.Plan") as caught:
            await get()
        assert caught.value.found == found
        assert list(caught.value.unreadable) == ["broken"]
        again = pickle.loads(pickle.dumps(caught.value))  # noqa: S301 - its own, as Ray does
        assert (str(again), again.found) == (str(caught.value), found)
    with pytest.raises(InvalidValueError, match=r"no\.such\.module\.Plan"):
        await memory.get_item_async("broken")


@pytest.mark.usefixtures("memory_without_ray")
def test_a_damaged_item_hides_no_other() -> None:
    memory, known = MwManager("organ"), load_settings()
    memory.set_items({f"item {number}": number for number in range(20)})
    with closing(sqlite3.connect(known.state_dir / known.ray_namespace / "mw.sqlite3")) as connection, connection:
        connection.execute("UPDATE items SET value = x'00' WHERE item_id IN ('item 3', 'item 4', 'item 11')")
    for get in (memory.get_items, lambda item_ids: asyncio.run(memory.get_items_async(item_ids))):
        with pytest.raises(UnreadableItemsError, match=r"3 of 20 items.*not as it was written") as caught:
            get([f"item {number}" for number in range(21)])
        assert list(caught.value.unreadable) == ["item 3", "item 4", "item 11"]
        assert caught.value.found == {f"item {number}": number for number in range(20) if number not in (3, 4, 11)}
    for one in (memory.get_item, lambda item_id: asyncio.run(memory.get_item_async(item_id))):
        with pytest.raises(ItemDamagedError):
            one("item 3")


def test_over_http_a_broken_item_hides_no_other(http: httpx.Client) -> None:
    set_broken(MwManager("organ"))
    answer = http.post(
        "/organs/organ/items/query", json={"item_ids": ["broken", "two keys", "good", "shared", "missing"]}
    ).json()
    assert {item["item_id"]: item["value"] for item in answer["items"]} == {"good": 1, "shared": 2}
    assert answer["missing"] == ["missing"]
    reasons = {item["item_id"]: item["reason"] for item in answer["unreadable"]}
    assert reasons.keys() == {"broken", "two keys"}
    assert "no.such.module.Plan" in reasons["broken"]
    assert "1 and '1'" in reasons["two keys"]
    one = http.get("/organs/organ/items/two keys")
    assert (one.status_code, one.json()["detail"]) == (422, reasons["two keys"])


# Values of packages


@pytest.mark.parametrize(
    ("package", "name"), [(package, name) for package, makers in OF_PACKAGES.items() for name in makers]
)
def test_a_value_of_a_package_comes_back_the_same_and_can_be_shown(package: str, name: str) -> None:
    pytest.importorskip(package, reason=f"{package} {NOT_HERE}")
    value = kept_values()[f"{package}: {name}"]
    back = decode(encode(value))
    assert is_same(back, value)
    json.dumps(to_json_value(back), allow_nan=False)


REFUSED: list[tuple[str, str, Callable[[], Any], str]] = [
    ("pandas", "subclass", lambda: type("Mine", (pd().DataFrame,), {})({"a": [1]}), "Mine"),
    ("pandas", "sparse", lambda: pd().Series(pd().arrays.SparseArray([0, 1])), "Sparse"),
    (
        "pandas",
        "holidays",
        lambda: pd().Series([1], pd().bdate_range("2026-01-01", periods=1, freq="C", holidays=["2026-01-02"])),
        "Custom",
    ),
    ("pandas", "objects", lambda: pd().DataFrame({"a": [Exception()]}), "DataFrame: .*Exception"),
    ("pyarrow", "extension", lambda: pa().table({"a": pa().array(pd().period_range("2026", periods=1))}), "period"),
    ("pyarrow", "array", lambda: pa().array([1]), "Int64Array"),
    ("torch", "gradient", lambda: torch().ones(2, requires_grad=True), r"detach\(\)"),
    ("torch", "parameter", lambda: torch().nn.Parameter(torch().ones(2)), "Parameter"),
    ("torch", "sparse", lambda: torch().eye(3).to_sparse(), r"to_dense\(\)"),
    ("torch", "nested", lambda: torch().nested.nested_tensor([torch().ones(2)]), r"to_dense\(\)"),
    ("torch", "device", lambda: torch().ones(2, device="meta"), r"cpu\(\)"),
    ("torch", "quantised", lambda: torch().quantize_per_tensor(torch().ones(2), 0.1, 0, torch().qint8), "dequantize"),
    ("torch", "state", lambda: torch().nn.Linear(2, 2).state_dict(), r"OrderedDict: keep dict\(value\)"),
    ("ml_dtypes", "array", lambda: np.ones(2, pytest.importorskip("ml_dtypes").bfloat16), "bfloat16.*view"),
    ("ml_dtypes", "scalar", lambda: pytest.importorskip("ml_dtypes").bfloat16(1), "bfloat16"),
]


@pytest.mark.filterwarnings("ignore")  # what the packages say of making such values
@pytest.mark.parametrize(
    ("package", "make", "word"),
    [(row[0], row[2], row[3]) for row in REFUSED],
    ids=[f"{row[0]} {row[1]}" for row in REFUSED],
)
def test_a_value_of_a_package_that_would_be_another_one_is_refused(package: str, make: Any, word: str) -> None:
    pytest.importorskip(package, reason=f"{package} {NOT_HERE}")
    with pytest.raises(InvalidValueError, match=word):
        encode({"key": make()})


def test_a_frame_can_be_changed_and_an_array_of_it_is_a_file(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas", reason=f"pandas {NOT_HERE}")
    frame = pandas.DataFrame({"x": np.arange(100_000)})
    data, arrays = aside_encoder(1024)(frame)
    assert len(data) < 1024 < arrays[0].nbytes
    back = decode(encode(frame))
    back.loc[0, "x"] = 5
    assert list(back["x"][:2]) == [5, 1]


def test_a_package_that_is_missing_is_named() -> None:
    data = bytes(msgpack.packb(msgpack.ExtType(22, msgpack.packb(["missing.Frame", 1]))))
    row = ValueType("missing.Frame", "missing_package.Frame", list, lambda data: import_module("missing_package"))
    with (
        patch.object(value_types, "table", lambda: {row.name: row}),
        pytest.raises(InvalidValueError, match=r"missing\.Frame.*missing_package: add it to app/requirements\.txt"),
    ):
        decode(data)


def test_no_package_is_imported_for_what_is_none_of_it() -> None:
    program = (
        "import sys\n"
        "from seedcore.store.values.codec import decode, encode\n"
        "from tests.unit.values import Point\n"
        "decode(encode(Point(1)))\n"
        "print(sorted({'pandas', 'pyarrow', 'torch'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=PROJECT_ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


# Types of the application

MONEY = """
from collections import OrderedDict
from decimal import Decimal

from seedcore import ValueType


class Money:
    def __init__(self, amount, currency):
        self.amount, self.currency = Decimal(amount), currency

    def __eq__(self, other):
        return vars(self) == vars(other)


VALUES = [
    ValueType("money", Money, lambda money: [money.amount, money.currency], lambda data: Money(*data)),
    ValueType("ordered", OrderedDict, lambda value: list(value.items()), OrderedDict, to_json=dict),
    ValueType("wrong", "fractions.Fraction", str, float),
    ValueType("failing", range, lambda value: value.nothing, range),
]
"""


@pytest.fixture
def app_values(tmp_path: Path) -> Iterator[Callable[[str], Any]]:
    """Has an application with this `values.py`; the module."""
    name = f"an_application_{tmp_path.name}"
    (tmp_path / name).mkdir()

    def made(content: str) -> Any:
        (tmp_path / name / "values.py").write_text(content)
        forget()
        return application._load(name, "values")

    def forget() -> None:
        value_types.table.cache_clear()
        value_types.value_type_of.cache_clear()

    with patch.object(application, "PACKAGE", name), patch.object(sys, "path", [str(tmp_path), *sys.path]):
        yield made
    forget()


def test_an_application_adds_types(app_values: Callable[[str], Any]) -> None:
    module = app_values(MONEY)
    for value, shown in (
        (module.Money("1.10", "EUR"), ["1.10", "EUR"]),
        (OrderedDict(b=1, a=(2,)), {"b": 1, "a": [2]}),
    ):
        back = decode(encode({"key": Pair(value)}))["key"].left
        assert type(back) is type(value)
        assert back == value
        assert to_json_value(value) == shown


def test_the_example_of_the_reference_works(app_values: Callable[[str], Any]) -> None:
    section = (PROJECT_ROOT / "docs/reference.md").read_text().partition("## Values")[2]
    app_values(section.partition("```python\n")[2].partition("```")[0])
    value = OrderedDict(home=PosixPath("/home"), temp=PosixPath("/tmp"))
    back = decode(encode(value))
    assert (back, list(map(type, back.values()))) == (value, [PosixPath, PosixPath])
    assert to_json_value(value) == {"home": "/home", "temp": "/tmp"}


def test_what_a_row_does_wrong_is_named(app_values: Callable[[str], Any]) -> None:
    app_values(MONEY)
    with pytest.raises(InvalidValueError, match="a wrong, of which from_data made a float"):
        decode(encode(Fraction(1)))
    with pytest.raises(InvalidValueError, match=r"cannot keep a failing: AttributeError.*nothing"):
        encode(range(3))


def test_a_type_without_its_row_is_named(app_values: Callable[[str], Any]) -> None:
    data = encode(app_values(MONEY).Money(1, "EUR"))
    with (
        patch.object(value_types, "table", lambda: {}),
        pytest.raises(InvalidValueError, match=r"money.*app/values\.py"),
    ):
        decode(data)


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ("[1]", "must have ValueType"),
        ("[ValueType('a', int, int, int), ValueType('a', str, str, str)]", "second row for 'a'"),
        ("[ValueType('a', 'x.Y', int, int), ValueType('b', 'x.Y', str, str)]", "second row for 'b'"),
        ("[ValueType('torch.Tensor', range, list, range)]", "second row for 'torch.Tensor'"),
    ],
)
def test_rows_that_contradict_each_other_are_refused(app_values: Callable[[str], Any], rows: str, said: str) -> None:
    app_values(f"from seedcore import ValueType\nVALUES = {rows}\n")
    with pytest.raises(InvalidAppError, match=said):
        value_types.table()
    assert same(decode(encode({"plain": [1]})), {"plain": [1]})
    with pytest.raises(InvalidAppError, match=said):
        encode(Point(1))
