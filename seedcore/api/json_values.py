"""Values of the working memory as JSON: exact for JSON's own types, the nearest readable form for all others."""

import base64
import dataclasses
import math
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any, Final
from uuid import UUID

import numpy as np
from pydantic import BaseModel, RootModel

from seedcore.errors import InvalidValueError
from seedcore.store.values.value_types import value_type_of

FINER: Final = ("ns]", "ps]", "fs]", "as]")  # than the standard library's times, so that numpy makes ints of them
SAME: Final = frozenset({type(None), bool, int, str})  # in JSON, so that they cost no call


def to_json_value(value: Any) -> Any:
    """What JSON shows of a value that may have come from Python.

    bytes become base64, arrays nested lists, dataclasses and models objects, enums their values, sets and tuples lists,
    times ISO 8601, a timedelta seconds, and what `value_types` has a row for what that says; NaN, the infinities and
    pandas' NaT, which JSON cannot write, become null.

    Raises:
        InvalidValueError: two keys of a dict, which are text in JSON, would be the same.
    """
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            return float(value) if math.isfinite(value) else None
        case dict():
            shown = {
                key if isinstance(key, str) else str(key): item if type(item) in SAME else to_json_value(item)
                for key, item in value.items()
            }
            if len(shown) < len(value):
                _require_different(value)
            return shown
        case list() | tuple() | set() | frozenset():
            return [item if type(item) in SAME else to_json_value(item) for item in value]
        case bytes() | bytearray():
            return base64.b64encode(value).decode()
        case np.ndarray() | np.generic():
            if value.dtype.kind in "mM" and str(value.dtype).endswith(FINER):
                value = value.astype(f"{value.dtype.kind}8[us]")
            plain = value.tolist()
            if type(plain) is type(value):  # numpy leaves its long doubles as they are
                plain = complex(value) if np.iscomplexobj(value) else float(value)
            return to_json_value(plain)
        case datetime() | date() | time():
            return value.isoformat() if value == value else None  # NaT is not equal to itself
        case timedelta():
            return value.total_seconds()
        case Decimal() | UUID() | complex():
            return str(value)
        case Enum():
            return to_json_value(value.value)
        case _ if dataclasses.is_dataclass(value):
            fields = dataclasses.fields(value)
            return {field.name: to_json_value(getattr(value, field.name)) for field in fields}
        case RootModel():
            return to_json_value(value.root)
        case BaseModel():
            return {name: to_json_value(item) for name, item in value}
    cls: Any = type(value)
    row = value_type_of(cls)
    return str(value) if row is None else to_json_value((row.to_json or row.to_data)(value))


def _require_different(value: dict[Any, Any]) -> None:
    keys: dict[str, Any] = {}
    for key in value:
        text = str(key)
        if text in keys:
            raise InvalidValueError(
                f"JSON cannot show a dict with the keys {keys[text]!r} and {key!r}, which would both be {text!r}; "
                "read it in Python"
            )
        keys[text] = key
