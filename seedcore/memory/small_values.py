"""Tells values that are encoded, decoded or shown in a moment from those that would stall an event loop."""

from datetime import date, time, timedelta
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

MAX_SMALL_PARTS: Final = 200
MAX_SMALL_LENGTH: Final = 4096  # of a string or of bytes
USUAL_SCALARS: Final = frozenset({type(None), bool, int, float})  # quicker to look up
SCALARS: Final = (type(None), int, float, complex, date, time, timedelta, Decimal, UUID)


def is_small(value: Any) -> bool:
    """Whether a value is handled in some ten microseconds, so that a thread would only cost time."""
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
