"""Keeps and reads values that are nested more and more deeply, and says how each went. A program of its own, since a
decoder that does not look after its stack takes the whole process with it.

    python -m tests.unit.deep_values
"""

from collections.abc import Callable, Iterator
from typing import Any, Final

import msgpack

from seedcore.errors import InvalidValueError
from seedcore.store.values.codec import decode, encode
from tests.unit.values import FrozenPoint

TUPLE: Final = 2  # the extension type
DEPTHS: Final = (10, 20, 100, 150, 190, 210, 230, 250, 300, 500, 1000)

WRAPPERS: Final[dict[str, Callable[[Any], Any]]] = {
    "list": lambda value: [value],
    "dict": lambda value: {"key": value},
    "tuple": lambda value: (value,),
    "frozenset": lambda value: frozenset([value]),
    "dataclass": lambda value: FrozenPoint(value, None),
    "tuple in list": lambda value: [(value,)],
}


def nested(kind: str, depth: int) -> object:
    """Zero inside of as many wrappers."""
    value: object = 0
    for _ in range(depth):
        value = WRAPPERS[kind](value)
    return value


def tuples_by_hand(depth: int) -> bytes:
    """What the codec would write for nested tuples if it had no limit."""
    data: bytes = msgpack.packb(0)
    for _ in range(depth):
        data = msgpack.packb(msgpack.ExtType(TUPLE, b"\x91" + data))
    return data


def outcomes() -> Iterator[tuple[str, int, str]]:
    """Kind, depth, and `read`, `not kept` or `not read`."""
    for kind in WRAPPERS:
        for depth in DEPTHS:
            try:
                data = encode(nested(kind, depth))
            except InvalidValueError:
                yield kind, depth, "not kept"
            else:
                yield kind, depth, _read(data)
    for depth in DEPTHS:
        yield "by hand", depth, _read(tuples_by_hand(depth))


def _read(data: bytes) -> str:
    try:
        decode(data)
    except InvalidValueError:
        return "not read"
    return "read"


if __name__ == "__main__":
    for outcome in outcomes():
        print(*outcome, sep="\t", flush=True)  # noqa: T201
