"""`MwManager`: the one face of the working memory that application code uses."""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sized
from typing import Any, TypeVar

from seedcore.errors import (
    BlockingCallError,
    InvalidKeyError,
)
from seedcore.event_loop import INLINE_ITEMS
from seedcore.memory import found_items
from seedcore.memory.engines import memory_of_process
from seedcore.memory.found_items import FoundItem, Source
from seedcore.settings import load_settings
from seedcore.store import limits
from seedcore.store.engine import HotItem, Many
from seedcore.store.values.codec import decode

T = TypeVar("T")
logger = logging.getLogger(__name__)


_Found = tuple[list[str], Many, Many]


class MwManager:
    """An organ's working memory.

    `set_item` and `get_item` are the organ's own, `set_global_item` is everybody's. A get looks into the organ's
    items, then the shared ones, then counts a miss and returns the default. A set returns when the item is durable
    against the death of any process or container.

    Each method blocks; its `_async` twin does not, and is the one to use in a coroutine. A blocking method that is
    called on a running event loop raises `BlockingCallError` instead of stalling every other coroutine.

    Where this process sees the store's files, it reads from them, whether the actors live or not; writes and the
    counting of misses go through the actors, by a socket beside the files, else by Ray. Coroutines that call at the
    same time share a call of an actor.

    Making a manager costs nothing: the actors are looked up at the first use, or by `connect`.

    Values are data: JSON types, bytes, numpy arrays, datetimes, dataclasses, pydantic models, frames and the other
    types that docs/reference.md lists. They come back equal and of the same type, never as the same object; all else is
    refused when it is set. Large numpy arrays are files that a get maps into memory: it copies nothing, and whoever
    changes such an array changes a copy of those pages only.

    Args:
        organ_id: one agent or service; 1 to `KEY_MAX_LENGTH` characters.

    Raises:
        InvalidKeyError: the organ id is not one.
    """

    def __init__(self, organ_id: str) -> None:
        self._settings = load_settings()
        self.organ_id = limits.validate_key("organ_id", organ_id, self._settings.key_max_length)
        self._memory = memory_of_process(self._settings)
        self._own, self._shared, self._misses = self._memory.own, self._memory.shared, self._memory.misses
        self._is_ready = False

    # Connecting

    def connect(self) -> None:
        """Find the memory now instead of at the first use: the three actors, or the engine at `MEMORY_URL`.

        Raises:
            ActorNotFoundError, ActorUnavailableError: as `seedcore.get_singleton`.
            EngineUnavailableError, AuthenticationFailedError: the engine does not answer, or refuses.
        """
        self._refuse_event_loop("connect")
        if not self._is_ready:
            self._memory.connect()
            self._say_ready()

    async def connect_async(self) -> None:
        """`connect` without blocking the event loop."""
        if not self._is_ready:
            await self._memory.connect_async()
            self._say_ready()

    def _can_read(self) -> bool:
        """Whether items can be read as it is, such as from files while the actors are dead."""
        if self._memory.is_readable:
            self._say_ready()
        return self._is_ready

    def _say_ready(self) -> None:
        self._is_ready = True
        name = repr(self.organ_id)[1:-1]  # with a line break it would make a line of its own
        logger.info("✅ MwManager for organ='%s' ready", name, extra=self._log_fields())

    def _log_fields(self, **more: Any) -> dict[str, Any]:
        """For `LOG_FORMAT=json`."""
        return {"organ": self.organ_id, "namespace": self._settings.ray_namespace, **more}

    # One item

    def get_item(self, item_id: str, default: Any = None) -> Any:
        """The organ's item, else the shared one, else the default, after counting a miss.

        Raises:
            InvalidKeyError: `item_id` is not one.
            ActorUnavailableError: an actor did not answer within `CALL_DEADLINE_S`.
        """
        found = self.find_item(item_id)
        return default if found is None else found.value

    async def get_item_async(self, item_id: str, default: Any = None) -> Any:
        """`get_item` without blocking the event loop."""
        found = await self.find_item_async(item_id)
        return default if found is None else found.value

    def find_item(self, item_id: str) -> FoundItem | None:
        """`get_item` that also tells where the item was, and tells a stored None from no item."""
        key = self._begin_read("find_item", item_id)
        if (encoded := self._own.get(self.organ_id, key)) is not None:
            return FoundItem(decode(encoded), Source.ORGAN)
        if (encoded := self._shared.get(limits.EVERYBODY, key)) is not None:
            return FoundItem(decode(encoded), Source.SHARED)
        self._note_missed([key])
        return None

    async def find_item_async(self, item_id: str) -> FoundItem | None:
        """`find_item` without blocking the event loop."""
        key = await self._begin_read_async(item_id)
        if (encoded := await self._own.get_async(self.organ_id, key)) is not None:
            return FoundItem(await found_items.decode_async(encoded), Source.ORGAN)
        if (encoded := await self._shared.get_async(limits.EVERYBODY, key)) is not None:
            return FoundItem(await found_items.decode_async(encoded), Source.SHARED)
        self._note_missed([key])
        return None

    def set_item(self, item_id: str, value: Any, ttl_s: float | None = None) -> None:
        """Keep a value as the organ's own.

        Args:
            item_id: 1 to `KEY_MAX_LENGTH` characters.
            value: data, see the class.
            ttl_s: seconds after which it is gone; None keeps it.

        Raises:
            InvalidKeyError, InvalidValueError, InvalidTtlError, ValueTooLargeError: and nothing was kept.
            ActorUnavailableError: no answer within `CALL_DEADLINE_S`; it may or may not have been kept, but is not kept
                any more after a later write of this process was answered.
        """
        self.set_items({item_id: value}, ttl_s)

    async def set_item_async(self, item_id: str, value: Any, ttl_s: float | None = None) -> None:
        """`set_item` without blocking the event loop.

        When it is cancelled, the value may still be kept, until this process has written something else.
        """
        await self.set_items_async({item_id: value}, ttl_s)

    def delete_item(self, item_id: str) -> bool:
        """Delete the organ's item; whether there was one."""
        return bool(self.delete_items([item_id]))

    async def delete_item_async(self, item_id: str) -> bool:
        """`delete_item` without blocking the event loop."""
        return bool(await self.delete_items_async([item_id]))

    # One shared item

    def get_global_item(self, item_id: str, default: Any = None) -> Any:
        """The shared item, whatever the organ itself has; else the default, after counting a miss."""
        key = self._begin_read("get_global_item", item_id)
        encoded = self._shared.get(limits.EVERYBODY, key)
        if encoded is None:
            self._note_missed([key])
            return default
        return decode(encoded)

    async def get_global_item_async(self, item_id: str, default: Any = None) -> Any:
        """`get_global_item` without blocking the event loop."""
        key = await self._begin_read_async(item_id)
        encoded = await self._shared.get_async(limits.EVERYBODY, key)
        if encoded is None:
            self._note_missed([key])
            return default
        return await found_items.decode_async(encoded)

    def set_global_item(self, item_id: str, value: Any, ttl_s: float | None = None) -> None:
        """Keep a value for every organ; as `set_item` otherwise."""
        self.set_global_items({item_id: value}, ttl_s)

    async def set_global_item_async(self, item_id: str, value: Any, ttl_s: float | None = None) -> None:
        """`set_global_item` without blocking the event loop."""
        await self.set_global_items_async({item_id: value}, ttl_s)

    def delete_global_item(self, item_id: str) -> bool:
        """Delete the shared item; whether there was one."""
        return bool(self.delete_global_items([item_id]))

    async def delete_global_item_async(self, item_id: str) -> bool:
        """`delete_global_item` without blocking the event loop."""
        return bool(await self.delete_global_items_async([item_id]))

    # Many items

    def get_items(self, item_ids: Iterable[str]) -> dict[str, Any]:
        """The values of those items that were found, as `get_item` finds them; each other one counts as a miss.

        Raises:
            UnreadableItemsError: some are there and cannot be read; it has the others.
        """
        wanted, own, shared = self._find(item_ids)
        return found_items.decoded(wanted, {**shared, **own})

    async def get_items_async(self, item_ids: Iterable[str]) -> dict[str, Any]:
        """`get_items` without blocking the event loop."""
        wanted, own, shared = await self._find_async(item_ids)
        return await found_items.beside_the_loop(found_items.decoded, wanted, {**shared, **own})

    def find_items(self, item_ids: Iterable[str]) -> dict[str, FoundItem]:
        """`get_items` that also tells where each item was."""
        return found_items.with_sources(*self._find(item_ids))

    async def find_items_async(self, item_ids: Iterable[str]) -> dict[str, FoundItem]:
        """`find_items` without blocking the event loop."""
        wanted, own, shared = await self._find_async(item_ids)
        return await found_items.beside_the_loop(found_items.with_sources, wanted, own, shared)

    def _find(self, item_ids: Iterable[str]) -> _Found:
        """The ids, those items that are the organ's own, and those of the others that are shared."""
        self._refuse_event_loop("find_items")
        wanted = self._keys(item_ids)
        if not self._is_ready and not self._can_read():
            self.connect()
        own = self._own.get_many(self.organ_id, wanted)
        rest = _without(wanted, own)
        shared = self._shared.get_many(limits.EVERYBODY, rest) if rest else {}
        self._note_missed(_without(rest, shared))
        return wanted, own, shared

    async def _find_async(self, item_ids: Iterable[str]) -> _Found:
        wanted = await self._keys_async(item_ids)
        if not self._is_ready and not self._can_read():
            await self.connect_async()
        own = await self._own.get_many_async(self.organ_id, wanted)
        rest = _without(wanted, own)
        shared = await self._shared.get_many_async(limits.EVERYBODY, rest) if rest else {}
        self._note_missed(_without(rest, shared))
        return wanted, own, shared

    def set_items(self, items: Mapping[str, Any], ttl_s: float | None = None) -> None:
        """`set_item` for many: all of them are kept, or none."""
        ttl_s, packed = self._validated(items, ttl_s), self._own.pack(items)
        self.connect()
        self._own.set_many(self.organ_id, packed, ttl_s)

    async def set_items_async(self, items: Mapping[str, Any], ttl_s: float | None = None) -> None:
        """`set_items` without blocking the event loop."""
        ttl_s = await _beside_if_many(items, self._validated, items, ttl_s)
        packed = await self._own.pack_async(items)
        await self.connect_async()
        await self._own.set_many_async(self.organ_id, packed, ttl_s)

    def delete_items(self, item_ids: Iterable[str]) -> list[str]:
        """Delete items of the organ; the ids of those that it had."""
        wanted = self._keys(item_ids)
        self.connect()
        return self._own.delete_many(self.organ_id, wanted)

    async def delete_items_async(self, item_ids: Iterable[str]) -> list[str]:
        """`delete_items` without blocking the event loop."""
        wanted = await self._keys_async(item_ids)
        await self.connect_async()
        return await self._own.delete_many_async(self.organ_id, wanted)

    # Many shared items

    def get_global_items(self, item_ids: Iterable[str]) -> dict[str, Any]:
        """The values of those shared items that exist; each other one counts as a miss. Raises as `get_items`."""
        self._refuse_event_loop("get_global_items")
        wanted = self._keys(item_ids)
        if not self._is_ready and not self._can_read():
            self.connect()
        shared = self._shared.get_many(limits.EVERYBODY, wanted)
        self._note_missed(_without(wanted, shared))
        return found_items.decoded(wanted, shared)

    async def get_global_items_async(self, item_ids: Iterable[str]) -> dict[str, Any]:
        """`get_global_items` without blocking the event loop."""
        wanted = await self._keys_async(item_ids)
        if not self._is_ready and not self._can_read():
            await self.connect_async()
        shared = await self._shared.get_many_async(limits.EVERYBODY, wanted)
        self._note_missed(_without(wanted, shared))
        return await found_items.beside_the_loop(found_items.decoded, wanted, shared)

    def set_global_items(self, items: Mapping[str, Any], ttl_s: float | None = None) -> None:
        """`set_global_item` for many: all or none. Beyond the cache's bounds the first of them go again at once."""
        ttl_s, packed = self._validated(items, ttl_s), self._shared.pack(items)
        self.connect()
        self._shared.set_many(limits.EVERYBODY, packed, ttl_s)

    async def set_global_items_async(self, items: Mapping[str, Any], ttl_s: float | None = None) -> None:
        """`set_global_items` without blocking the event loop."""
        ttl_s = await _beside_if_many(items, self._validated, items, ttl_s)
        packed = await self._shared.pack_async(items)
        await self.connect_async()
        await self._shared.set_many_async(limits.EVERYBODY, packed, ttl_s)

    def delete_global_items(self, item_ids: Iterable[str]) -> list[str]:
        """Delete shared items; the ids of those that were there."""
        wanted = self._keys(item_ids)
        self.connect()
        return self._shared.delete_many(limits.EVERYBODY, wanted)

    async def delete_global_items_async(self, item_ids: Iterable[str]) -> list[str]:
        """`delete_global_items` without blocking the event loop."""
        wanted = await self._keys_async(item_ids)
        await self.connect_async()
        return await self._shared.delete_many_async(limits.EVERYBODY, wanted)

    # Misses

    def get_hot_items(self, number: int = 10) -> list[HotItem]:
        """The items that were most often asked for and not found, by any organ, most missed first."""
        number = limits.validate_number(number)
        self._refuse_event_loop("get_hot_items")
        if not self._is_ready and not self._can_read():
            self.connect()
        return self._misses.top(number)

    async def get_hot_items_async(self, number: int = 10) -> list[HotItem]:
        """`get_hot_items` without blocking the event loop."""
        number = limits.validate_number(number)
        if not self._is_ready and not self._can_read():
            await self.connect_async()
        return await self._misses.top_async(number)

    def _note_missed(self, item_ids: list[str]) -> None:
        if item_ids:
            self._misses.add(item_ids)
            if logger.isEnabledFor(logging.DEBUG):
                for item_id in item_ids:
                    fields = self._log_fields(item=item_id)
                    logger.debug("organ %r asked for %r, which is not there", self.organ_id, item_id, extra=fields)

    # What each method begins with

    def _begin_read(self, method: str, item_id: str) -> str:
        self._refuse_event_loop(method)
        key = limits.validate_key("item_id", item_id, self._settings.key_max_length)
        if not self._is_ready and not self._can_read():
            self.connect()
        return key

    async def _begin_read_async(self, item_id: str) -> str:
        key = limits.validate_key("item_id", item_id, self._settings.key_max_length)
        if not self._is_ready and not self._can_read():
            await self.connect_async()
        return key

    def _keys(self, item_ids: Iterable[str]) -> list[str]:
        return list(dict.fromkeys(limits.validate_keys("item_id", item_ids, self._settings.key_max_length)))

    async def _keys_async(self, item_ids: Iterable[str]) -> list[str]:
        return await _beside_if_many(item_ids, self._keys, item_ids)

    def _validated(self, items: Mapping[str, Any], ttl_s: float | None) -> float | None:
        if not isinstance(items, Mapping):
            raise InvalidKeyError(f"items must be a mapping of item_id to value, not {type(items).__name__}")
        limits.validate_keys("item_id", items, self._settings.key_max_length)
        return limits.validate_ttl(ttl_s)

    @staticmethod
    def _refuse_event_loop(method: str) -> None:
        if asyncio._get_running_loop() is None:  # without the exception that the public one raises
            return
        raise BlockingCallError(
            f"a blocking method of MwManager (via {method}) was called on a running event loop, which it would stall; "
            "await its _async twin: get_item_async, set_item_async, ..."
        )


def _without(item_ids: list[str], found: Many) -> list[str]:
    return [item_id for item_id in item_ids if item_id not in found]


async def _beside_if_many(some: object, function: Callable[..., T], *arguments: Any) -> T:
    if isinstance(some, Sized) and len(some) > INLINE_ITEMS:
        return await asyncio.to_thread(function, *arguments)
    return function(*arguments)
