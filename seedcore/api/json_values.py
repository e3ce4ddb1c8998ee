"""Values of the working memory as JSON: exact for JSON's own types, the nearest readable form for all others."""

import base64
import dataclasses
import math
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

import numpy as np


def to_json_value(value: Any) -> Any:
    """What JSON shows of a value that may have come from Python.

    bytes become base64, arrays nested lists, dataclasses objects, enums their values, sets and tuples lists, times ISO
    8601, a timedelta seconds; NaN and the infinities, which JSON cannot write, become null.
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
        case Enum():
            return to_json_value(value.value)
        case _ if dataclasses.is_dataclass(value):
            fields = dataclasses.fields(value)
            return {field.name: to_json_value(getattr(value, field.name)) for field in fields}
    return str(value)
