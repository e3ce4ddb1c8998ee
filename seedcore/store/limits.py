"""Validates keys, values and times to live, with one clear message each."""

import math
from collections.abc import Iterable
from contextlib import suppress
from typing import Final

from seedcore.errors import InvalidKeyError, InvalidTtlError, InvalidValueError, ValueTooLargeError

EVERYBODY: Final = ""  # the owner of all shared items; no organ can have this id


def validate_key(kind: str, key: object, max_length: int) -> str:
    """The key, if it is one.

    Args:
        kind: what it is the key of, for the message: `organ_id` or `item_id`.
        key: what the caller gave.
        max_length: `KEY_MAX_LENGTH`, in characters.

    Raises:
        InvalidKeyError: it is not a string, is empty, too long, or not valid Unicode.
    """
    if not isinstance(key, str):
        raise InvalidKeyError(f"{kind} must be a str, not {type(key).__name__}: {key!r:.80}")
    if not key:
        raise InvalidKeyError(f"{kind} must not be empty")
    if len(key) > max_length:
        raise InvalidKeyError(f"{kind} has {len(key)} characters, KEY_MAX_LENGTH allows {max_length}: {key[:40]!r}…")
    try:
        key.encode()
    except UnicodeEncodeError:
        raise InvalidKeyError(f"{kind} has a lone surrogate, which is not valid Unicode: {key!r}") from None
    return key


def validate_keys(kind: str, keys: Iterable[object], max_length: int) -> list[str]:
    """All keys, each by `validate_key`; a lone string is refused, since its characters are hardly meant."""
    if isinstance(keys, str | bytes) or not isinstance(keys, Iterable):
        raise InvalidKeyError(f"{kind}s must be a list of str, not one {type(keys).__name__}: {keys!r:.80}")
    return [validate_key(kind, key, max_length) for key in keys]


def validate_ttl(ttl_s: object) -> float | None:
    """The time to live in seconds, or None for an item that does not expire.

    Raises:
        InvalidTtlError: it is not a finite number above zero.
    """
    if ttl_s is None:
        return None
    if isinstance(ttl_s, int | float) and not isinstance(ttl_s, bool):
        with suppress(OverflowError):  # an int that no float can hold
            seconds = float(ttl_s)
            if math.isfinite(seconds) and seconds > 0:
                return seconds
    raise InvalidTtlError(f"ttl_s must be a number of seconds above 0, or None: {ttl_s!r:.80}")


def validate_size(item_id: str, size: int, max_bytes: int, knob: str) -> None:
    """Refuse a value above a bound.

    Args:
        item_id: whose value.
        size: bytes of the encoded value.
        max_bytes: that it may have.
        knob: that sets it.

    Raises:
        ValueTooLargeError: naming the item, its bytes, and the knob that bounds them.
    """
    if size > max_bytes:
        raise ValueTooLargeError(f"the value of {item_id!r} has {size} bytes, {knob} allows {max_bytes}")


def validate_number(number: object) -> int:
    """How many of something are asked for.

    Raises:
        InvalidValueError: it is not a whole number from 0 on.
    """
    if isinstance(number, bool) or not isinstance(number, int) or number < 0:
        raise InvalidValueError(f"the number of hot items must be a whole number from 0 on: {number!r}")
    return number
