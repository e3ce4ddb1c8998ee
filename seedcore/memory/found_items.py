"""What a get found, decoded; of many items those that can be, beside what is wrong with the others."""

import asyncio
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any, Final, NamedTuple, TypeVar

from seedcore.errors import InvalidValueError, ItemDamagedError, SeedCoreError, UnreadableItemsError
from seedcore.event_loop import INLINE_BYTES, INLINE_ITEMS
from seedcore.store.engine import Many
from seedcore.store.values.codec import Encoded, decode

T = TypeVar("T")

MAX_NAMED: Final = 3  # of the items that cannot be read, in one message


class Source(StrEnum):
    """Where an item was found."""

    ORGAN = "organ"
    SHARED = "shared"


class FoundItem(NamedTuple):
    """An item and where it was."""

    value: Any
    source: Source


def with_sources(wanted: list[str], own: Many, shared: Many) -> dict[str, FoundItem]:
    """The items, the organ's own before those of everybody.

    Raises:
        UnreadableItemsError: as `decoded`.
    """
    try:
        return _with_source(decoded(wanted, {**shared, **own}), own)
    except UnreadableItemsError as error:
        raise UnreadableItemsError(str(error), error.unreadable, _with_source(error.found, own)) from None


def _with_source(values: Mapping[str, Any], own: Many) -> dict[str, FoundItem]:
    return {
        item_id: FoundItem(value, Source.ORGAN if item_id in own else Source.SHARED)
        for item_id, value in values.items()
    }


def decoded(wanted: list[str], items: Many) -> dict[str, Any]:
    """The values of those that are wanted, in their order.

    Raises:
        UnreadableItemsError: some cannot be read; it has the others.
    """
    found: dict[str, Any] = {}
    unreadable: dict[str, SeedCoreError] = {}
    for item_id in wanted:
        encoded = items.get(item_id)
        if isinstance(encoded, ItemDamagedError):
            unreadable[item_id] = encoded
        elif encoded is not None:
            try:
                found[item_id] = decode(encoded)
            except InvalidValueError as error:
                unreadable[item_id] = error
    if unreadable:
        named = "; ".join(f"{item_id!r}: {error}" for item_id, error in list(unreadable.items())[:MAX_NAMED])
        raise UnreadableItemsError(
            f"{len(unreadable)} of {len(unreadable) + len(found)} items cannot be read ({named}); "
            "`found` of this error has the others",
            unreadable,
            found,
        )
    return found


def _bytes(encoded: Encoded | ItemDamagedError) -> int:
    match encoded:
        case bytes():
            return len(encoded)
        case ItemDamagedError():
            return 0
    return len(encoded.data)


# What is so large that it would stall the event loop goes to a thread.


async def decode_async(encoded: Encoded) -> Any:
    """`decode` without blocking the event loop."""
    data = encoded if isinstance(encoded, bytes) else encoded.data
    return decode(encoded) if len(data) <= INLINE_BYTES else await asyncio.to_thread(decode, encoded)


async def beside_the_loop(decode_all: Callable[..., dict[str, T]], wanted: list[str], *items: Many) -> dict[str, T]:
    """One of the above, of items that are many or large, without blocking the event loop."""
    total = sum(_bytes(encoded) for some in items for encoded in some.values())
    if len(wanted) > INLINE_ITEMS or total > INLINE_BYTES:
        return await asyncio.to_thread(decode_all, wanted, *items)
    return decode_all(wanted, *items)
