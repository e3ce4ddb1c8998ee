"""Values of every kind that is kept, by their names; and a program that sets or reads them in a process of its own.

    python -m tests.unit.kept_values set|get

The second says which of them are not there as they were set. The stores are those of `STATE_DIR`.
"""

import asyncio
import datetime as dt
import sys
from collections.abc import Callable
from decimal import Decimal
from importlib.util import find_spec
from typing import Any, Final
from uuid import UUID
from zoneinfo import ZoneInfo

import numpy as np

from seedcore.memory.working_memory import MwManager
from seedcore.settings import load_settings
from seedcore.testing import singletons_in_process
from tests.unit.package_values import FRAMES, TABLES, TENSORS, same_of_packages
from tests.unit.values import Access, Celsius, Color, FrozenPoint, Level, Pair, Reading, Square, same

PLAIN: Final[dict[str, Callable[[], Any]]] = {
    "JSON": lambda: {"step": 1, "of": ["Grüße", 2.5, -0.0, None, True, 2**70]},
    "keys": lambda: {1: "int", "1": "str", None: 0, (1, 2): 0, b"k": 0, 1.5: 0, Color.RED: 1},
    "sets": lambda: ({1, "two"}, frozenset([(3,)])),
    "numbers": lambda: [Decimal("1.10"), 1 - 0j, float("nan"), np.float32(1.5), np.datetime64("2026-01-01", "s")],
    "times": lambda: [
        dt.datetime(2026, 10, 25, 2, 30, fold=1, tzinfo=ZoneInfo("Europe/Berlin")),
        dt.time(1, tzinfo=dt.timezone(dt.timedelta(hours=1), "here")),
        dt.date(2026, 1, 1),
        dt.timedelta(1, 2, 3),
    ],
    "bytes": lambda: [b"\x00\xff", UUID(int=1)],
    "enums": lambda: [Color.RED, Level.LOW, Access.READ | Access.WRITE],
    "dataclasses": lambda: [Celsius(80.0), FrozenPoint(1, Celsius(0.0)), Square(3), Square.Corner(1)],
    "named tuple": lambda: Pair(1, Pair([2])),
    "model": lambda: Reading(value=1, other=Reading(value=2)),
    "array": lambda: np.arange(6.0).reshape(2, 3).T,
    "large array": lambda: {"in": [np.arange(100_000), np.zeros(3, [("a", ">i4"), ("b", "U2")])]},
}
OF_PACKAGES: Final = {"pandas": FRAMES, "pyarrow": TABLES, "torch": TENSORS}


def kept_values() -> dict[str, Any]:
    """Those of this process's packages."""
    makers = dict(PLAIN)
    for package, values in OF_PACKAGES.items():
        if find_spec(package) is not None:
            makers.update({f"{package}: {name}": make for name, make in values.items()})
    return {name: make() for name, make in makers.items()}


def is_same(left: Any, right: Any) -> bool:
    """As `same`, for values of packages too."""
    of_packages = same_of_packages(left, right)
    return same(left, right) if of_packages is None else of_packages


def differing(memory: MwManager) -> list[str]:
    """The names of those that are not as they were set, however they are got."""
    expected = kept_values()
    in_one = memory.get_items(expected)
    in_one_async = asyncio.run(memory.get_items_async(expected))
    return [
        name
        for name, value in expected.items()
        for back in (memory.get_item(name), asyncio.run(memory.get_item_async(name)), in_one[name], in_one_async[name])
        if not is_same(back, value)
    ]


def main(verb: str) -> None:
    """Set all, or read them."""
    with singletons_in_process(load_settings()):
        memory = MwManager("organ")
        if verb == "set":
            memory.set_items(kept_values())
        print(differing(memory))  # noqa: T201


if __name__ == "__main__":
    main(sys.argv[1])
