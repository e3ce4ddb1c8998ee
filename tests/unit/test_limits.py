from decimal import Decimal
from typing import Any

import numpy as np
import pytest

from seedcore.errors import InvalidKeyError, InvalidTtlError, InvalidValueError, ValueTooLargeError
from seedcore.store.limits import validate_key, validate_keys, validate_number, validate_size, validate_ttl

MAX_LENGTH = 8


@pytest.mark.parametrize("key", ["a", " ", "\x00", "a/b", "Grüße", "🎭" * MAX_LENGTH, "a" * MAX_LENGTH])
def test_any_unicode_up_to_the_limit_in_characters_is_a_key(key: str) -> None:
    assert validate_key("item_id", key, MAX_LENGTH) == key


@pytest.mark.parametrize(
    ("key", "word"),
    [
        (None, "NoneType"),
        (5, "int"),
        (b"bytes", "bytes"),
        (["list"], "list"),
        ("", "empty"),
        ("a" * (MAX_LENGTH + 1), f"KEY_MAX_LENGTH allows {MAX_LENGTH}"),
        ("🎭" * (MAX_LENGTH + 1), f"{MAX_LENGTH + 1} characters"),
        ("\ud800", "surrogate"),
    ],
)
def test_what_is_no_key_is_refused_by_its_kind(key: object, word: str) -> None:
    with pytest.raises(InvalidKeyError, match=f"^organ_id .*{word}"):
        validate_key("organ_id", key, MAX_LENGTH)


def test_a_refusal_can_be_printed_and_is_short_whatever_the_key() -> None:
    for key in ("a" * 1_000_000, b"a" * 1_000_000, "\ud800"):
        with pytest.raises(InvalidKeyError) as refused:
            validate_key("item_id", key, MAX_LENGTH)
        assert len(str(refused.value).encode()) < 300


def test_keys_come_back_in_order_with_repetitions() -> None:
    assert validate_keys("item_id", iter(["b", "a", "b"]), MAX_LENGTH) == ["b", "a", "b"]


@pytest.mark.parametrize("keys", ["abc", b"abc", ["a", ""], ["a", 5]])
def test_a_lone_string_or_a_bad_key_among_good_ones_is_refused(keys: Any) -> None:
    with pytest.raises(InvalidKeyError, match=r"^item_id"):
        validate_keys("item_id", keys, MAX_LENGTH)


@pytest.mark.parametrize("ttl_s", [None, 1, 0.001, 10**15, np.float64(2.5)])
def test_seconds_above_zero_are_a_time_to_live(ttl_s: object) -> None:
    assert validate_ttl(ttl_s) == ttl_s


@pytest.mark.parametrize(
    "ttl_s",
    [0, 0.0, -0.0, -1, float("nan"), float("inf"), -float("inf"), True, "5", b"5", Decimal(5), [5], 10**400],
    ids=lambda value: repr(value)[:20],
)
def test_what_is_no_time_to_live_is_refused(ttl_s: object) -> None:
    with pytest.raises(InvalidTtlError, match="ttl_s"):
        validate_ttl(ttl_s)


def test_a_value_of_the_largest_size_is_allowed_and_one_byte_more_is_refused_by_name() -> None:
    validate_size("largest", 4, 4, "VALUE_MAX_BYTES")
    with pytest.raises(ValueTooLargeError, match="'too large' has 5 bytes, VALUE_MAX_BYTES allows 4"):
        validate_size("too large", 5, 4, "VALUE_MAX_BYTES")


@pytest.mark.parametrize("number", [-1, 1.5, "5", None, True])
def test_a_number_of_hot_items_that_is_none_is_refused(number: Any) -> None:
    assert validate_number(0) == 0
    with pytest.raises(InvalidValueError, match="hot items"):
        validate_number(number)
