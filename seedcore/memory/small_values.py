"""Tells values that are encoded, decoded or shown in a moment from those that would stall an event loop."""

from datetime import date, time, timedelta
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

MAX_SMALL_PARTS: Final = 200
MAX_SMALL_LENGTH: Final = 4096  # of a string or of bytes
SCALARS: Final = (type(None), int, float, complex, date, time, timedelta, Decimal, UUID)


def is_small(value: Any) -> bool:
    """Whether a value is handled in some ten microseconds, so that a thread would only cost time."""
    waiting = [value]
    parts = 1
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict | list | tuple | set | frozenset):
            parts += len(part)
            if parts > MAX_SMALL_PARTS:
                return False
            waiting.extend(part)
            if isinstance(part, dict):
                waiting.extend(part.values())
        elif not (_is_short(part) or isinstance(part, SCALARS)):
            return False
    return True


def _is_short(value: Any) -> bool:
    return isinstance(value, str | bytes) and len(value) <= MAX_SMALL_LENGTH
