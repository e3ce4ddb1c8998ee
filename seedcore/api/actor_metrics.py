"""The numbers that an actor tells of itself, as metrics."""

import math
import re
from collections.abc import Mapping
from typing import Any, Final

PREFIX: Final = "seedcore_actor_"
# Numbers that only grow while a process lives. So is every one whose name ends as Prometheus's counters do.
GROWING: Final = frozenset(
    {
        "hits", "misses", "evictions", "expirations", "writes", "refused_writes", "transactions", "restarts",
        "salvaged", "lost",
    }
)  # fmt: skip
GROWING_SUFFIX: Final = "_total"


def metric_name(number: str) -> str:
    """The metric of a number of an actor's `stats()`, with the suffix of a counter if it is one."""
    name = PREFIX + re.sub(r"[^a-zA-Z0-9_]", "_", number)
    return f"{name.removesuffix(GROWING_SUFFIX)}{GROWING_SUFFIX}" if grows(number) else name


def grows(number: str) -> bool:
    """Whether it is a counter: a number that never gets less while the actor's process lives."""
    return number in GROWING or number.endswith(GROWING_SUFFIX)


def numbers_in(stats: Mapping[str, Any]) -> dict[str, float]:
    """What of an actor's `stats()` can be a metric."""
    return {name: _as_float(value) for name, value in stats.items() if isinstance(value, int | float)}


def _as_float(number: float) -> float:
    try:
        return float(number)
    except OverflowError:  # an int may be larger than any float
        return math.inf if number > 0 else -math.inf
