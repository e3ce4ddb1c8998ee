"""What an engine of the working memory promises. `sqlite` and `valkey` keep it; nothing above knows which one does.

What each of them promises:

- Acknowledged is kept: once a write has returned, the death of any process takes nothing of it back.
- Read your writes: a read that begins after a write was acknowledged sees it, in every process and on every machine.
- Once: a write that is sent again, since its answer was lost, is done one time. One that failed without an answer is
  not done any more after a later write of this process was acknowledged.
- All or none of the items of one write.
- Data only: what is read is checked; what the disk or a stranger changed is refused by name, and never guessed.

A third engine is a room beside these two, with a `Memory` in it, and a row in `seedcore/memory/engines.py`.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

from seedcore.errors import ItemDamagedError
from seedcore.store.values.codec import Encoded

Many = Mapping[str, Encoded | ItemDamagedError]  # items by their ids; in place of a damaged one what is wrong with it


class HotItem(NamedTuple):
    """An item that was asked for and not found."""

    item_id: str
    misses: int  # never too low; at most `overcount` too high
    overcount: int


class EngineState(NamedTuple):
    """What an engine says of itself.

    Args:
        facts: version, role and the like of each server, for people.
        numbers: for `/metrics`.
        problems: what of its settings breaks a promise, each with its remedy.
    """

    facts: Sequence[str] = ()
    numbers: Mapping[str, float] = MappingProxyType({})
    problems: Sequence[str] = ()


class Items(Protocol):
    """Items of owners, which are organs, or everybody. Threads and event loops may share it.

    A method ending in `_async` is its twin that does not block the event loop. Each may raise SeedCoreError: the engine
    did not answer within `CALL_DEADLINE_S`, or refused.
    """

    def get(self, owner: str, item_id: str) -> Encoded | None:
        """The encoded value of an item; None if there is none, or it has expired."""

    async def get_async(self, owner: str, item_id: str) -> Encoded | None:
        """`get`."""

    def get_many(self, owner: str, item_ids: Sequence[str]) -> Many:
        """The encoded values of those items that exist, by their ids, each of which is given once."""

    async def get_many_async(self, owner: str, item_ids: Sequence[str]) -> Many:
        """`get_many`."""

    def pack(self, items: Mapping[str, Any]) -> Mapping[str, Any]:
        """The items as `set_many` takes them.

        Raises:
            InvalidValueError, ValueTooLargeError: one of them cannot be kept.
        """

    async def pack_async(self, items: Mapping[str, Any]) -> Mapping[str, Any]:
        """`pack`."""

    def set_many(self, owner: str, packed: Mapping[str, Any], ttl_s: float | None) -> None:
        """Keep the items, all or none.

        Args:
            owner: the organ, or `EVERYBODY`.
            packed: by `pack`.
            ttl_s: seconds after which they are gone, or None.
        """

    async def set_many_async(self, owner: str, packed: Mapping[str, Any], ttl_s: float | None) -> None:
        """`set_many`."""

    def delete_many(self, owner: str, item_ids: Sequence[str]) -> list[str]:
        """Delete the items; the ids of those that were there."""

    async def delete_many_async(self, owner: str, item_ids: Sequence[str]) -> list[str]:
        """`delete_many`."""


class Misses(Protocol):
    """How often items were asked for and not found, for at most `MISS_TRACKER_MAX_ITEMS` of them."""

    def add(self, item_ids: Sequence[str]) -> None:
        """Note misses; they are counted within a fraction of a second, which nobody waits for."""

    def top(self, number: int) -> list[HotItem]:
        """The most missed items, most missed first; ties in the order of their ids. Knows what this process noted."""

    async def top_async(self, number: int) -> list[HotItem]:
        """`top`."""


class Memory(Protocol):
    """What all managers of a process share."""

    @property
    def name(self) -> str:
        """Of the engine and where it is, for people."""

    @property
    def own(self) -> Items:
        """What each organ remembers."""

    @property
    def shared(self) -> Items:
        """Items of everybody, within the bounds of the shared cache: beyond them the least recently used go."""

    @property
    def misses(self) -> Misses:
        """Of gets."""

    @property
    def is_readable(self) -> bool:
        """Whether items can be read without `connect`."""

    def connect(self) -> None:
        """Find what writes and reads go to.

        Raises:
            SeedCoreError: it is not there.
        """

    async def connect_async(self) -> None:
        """`connect`."""

    def state(self) -> EngineState:
        """What the engine says of itself.

        Raises:
            SeedCoreError: it does not answer.
        """

    def close(self) -> None:
        """Tell what is not told yet, and end the connections."""
