"""Values of the working memory as JSON: exact for JSON's own types, the nearest readable form for all others."""

import base64
import dataclasses
import math
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

import numpy as np

MAX_SMALL_PARTS: Final = 200
MAX_SMALL_LENGTH: Final = 4096  # of a string or of bytes


def is_small(value: Any) -> bool:
    """Whether a value becomes JSON in a moment, so that a thread would only cost time."""
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
        elif not (_is_short(part) or isinstance(part, int | float | None)):
            return False
    return True


def _is_short(value: Any) -> bool:
    return isinstance(value, str | bytes) and len(value) <= MAX_SMALL_LENGTH


def to_json_value(value: Any) -> Any:
    """What JSON shows of a value that may have come from Python.

    bytes become base64, arrays nested lists, dataclasses objects, sets and tuples lists, times ISO 8601, a timedelta
    seconds; NaN and the infinities, which JSON cannot write, become null.
    """
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            return float(value) if math.isfinite(value) else None
        case dict():
            return {key if isinstance(key, str) else str(key): to_json_value(item) for key, item in value.items()}
        case list() | tuple() | set() | frozenset():
            return [to_json_value(item) for item in value]
        case bytes() | bytearray():
            return base64.b64encode(value).decode()
        case np.ndarray() | np.generic():
            plain = value.tolist()
            if type(plain) is type(value):  # numpy leaves its long doubles as they are
                plain = complex(value) if np.iscomplexobj(value) else float(value)
            return to_json_value(plain)
        case datetime() | date() | time():
            return value.isoformat()
        case timedelta():
            return value.total_seconds()
        case Decimal() | UUID() | complex():
            return str(value)
        case _ if dataclasses.is_dataclass(value):
            fields = dataclasses.fields(value)
            return {field.name: to_json_value(getattr(value, field.name)) for field in fields}
    return str(value)
