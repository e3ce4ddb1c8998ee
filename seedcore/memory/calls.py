"""What travels between a client and an actor when several calls go in one."""

from typing import Any, NamedTuple

from seedcore.errors import SeedCoreError


class Call(NamedTuple):
    """A call of a method of an actor.

    Args:
        method: its name.
        arguments: by position.
    """

    method: str
    arguments: tuple[Any, ...]


class Answer(NamedTuple):
    """What came of a call.

    Args:
        result: what the method returned.
        error: what it raised instead.
    """

    result: Any = None
    error: SeedCoreError | None = None
