"""`MwManager`: the one face of the working memory that application code uses."""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence, Sized
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from seedcore.actors.packed_values import Packed, are_bytes, check_packed_sizes, pack_new, unpack_new
from seedcore.cluster.actor_client import ActorClient, actor_client
from seedcore.errors import BlockingCallError, InvalidKeyError
from seedcore.event_loop import INLINE_BYTES, INLINE_ITEMS, is_small
from seedcore.memory.item_reads import ItemReads, item_reads
from seedcore.settings import load_settings
from seedcore.store.codec import Arrays, decode, encode_aside
from seedcore.store.files import array_files
from seedcore.store.files.array_files import Encoded
from seedcore.store.limits import check_key, check_keys, check_ttl
from seedcore.store.sqlite.item_store import EVERYBODY
from seedcore.store.sqlite.miss_store import HotItem

T = TypeVar("T")
logger = logging.getLogger(__name__)


class Source(StrEnum):
    """Where an item was found."""

    ORGAN = "organ"
    SHARED = "shared"


@dataclass(frozen=True)
class FoundItem:
    """An item and where it was."""

    value: Any
    source: Source


class MwManager:
    """An organ's working memory.

    `set_item` and `get_item` are the organ's own, `set_global_item` is everybody's. A get looks into the organ's
    items, then the shared ones, then counts a miss and returns the default. A set returns when the item is durable
    against the death of any process or container.

    Each method blocks; its `_async` twin does not, and is the one to use in a coroutine. A blocking method that is
    called on a running event loop raises `BlockingCallError` instead of stalling every other coroutine.

    Where this process sees the store's files, it reads from them, whether the actors live or not; writes and the
    counting of misses go through the actors. Coroutines that call at the same time share a call of an actor.

    Making a manager costs nothing: the actors are looked up at the first use, or by `connect`.

    Values are data: JSON types, bytes, numpy arrays, datetimes, dataclasses and the other types that
    `seedcore.store.codec` lists. They come back equal, never as the same object. Large numpy arrays are files that a
    get maps into memory: it copies nothing, and whoever changes such an array changes a copy of those pages only.

    Args:
        organ_id: one agent or service; 1 to `KEY_MAX_LENGTH` characters.

    Raises:
        InvalidKeyError: the organ id is not one.
    """

    def __init__(self, organ_id: str) -> None:
        self._settings = load_settings()
        self.organ_id = check_key("organ_id", organ_id, self._settings.key_max_length)
        self._mw: ActorClient = actor_client(self._settings.mw_actor_name, self._settings)
        self._shared: ActorClient = actor_client(self._settings.shared_cache_actor_name, self._settings)
        self._misses: ActorClient = actor_client(self._settings.miss_tracker_actor_name, self._settings)
        self._own_reads = item_reads(self._mw, self._settings)
        self._shared_reads = item_reads(self._shared, self._settings)
        self._is_ready = False

    # Connecting

    def connect(self) -> None:
        """Find the three actors now instead of at the first use.

        Raises:
            ActorNotFoundError, ActorUnavailableError: as `seedcore.get_singleton`.
        """
        self._refuse_event_loop("connect")
        if not self._is_ready:
            for client in (self._mw, self._shared, self._misses):
                client.find()
            self._say_ready()

    async def connect_async(self) -> None:
        """`connect` without blocking the event loop."""
        if not self._is_ready:
            await asyncio.gather(*(client.find_async() for client in (self._mw, self._shared, self._misses)))
            self._say_ready()

    def _is_ready_for_reads(self) -> bool:
        """Whether items can be read now. Where the files are seen the actors are not needed, and may be dead."""
        if not self._is_ready and self._own_reads.sees_file and self._shared_reads.sees_file:
            self._say_ready()
        return self._is_ready

    def _say_ready(self) -> None:
        self._is_ready = True
        logger.info("✅ MwManager for organ='%s' ready", self.organ_id, extra=self._log_fields())

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
        self._refuse_event_loop("get_item")
        data = self._own_reads.peek(self.organ_id, self._key(item_id))
        if data is not None:
            return decode(data)
        found = self.find_items([item_id]).get(item_id)
        return default if found is None else found.value

    async def get_item_async(self, item_id: str, default: Any = None) -> Any:
        """`get_item` without blocking the event loop."""
        data = await self._own_reads.peek_async(self.organ_id, self._key(item_id))
        if data is not None:
            return decode(data)
        found = (await self.find_items_async([item_id])).get(item_id)
        return default if found is None else found.value

    def find_item(self, item_id: str) -> FoundItem | None:
        """`get_item` that also tells where the item was; None after counting a miss."""
        self._refuse_event_loop("find_item")
        if self._is_ready_for_reads():
            data = self._own_reads.peek(self.organ_id, self._key(item_id))
            if data is not None:
                return FoundItem(decode(data), Source.ORGAN)
        return self.find_items([item_id]).get(item_id)

    async def find_item_async(self, item_id: str) -> FoundItem | None:
        """`find_item` without blocking the event loop."""
        if self._is_ready_for_reads():
            data = await self._own_reads.peek_async(self.organ_id, self._key(item_id))
            if data is not None:
                return FoundItem(decode(data), Source.ORGAN)
        return (await self.find_items_async([item_id])).get(item_id)

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
        self._refuse_event_loop("get_global_item")
        data = self._shared_reads.peek(EVERYBODY, self._key(item_id))
        if data is not None:
            return decode(data)
        return self.get_global_items([item_id]).get(item_id, default)

    async def get_global_item_async(self, item_id: str, default: Any = None) -> Any:
        """`get_global_item` without blocking the event loop."""
        data = await self._shared_reads.peek_async(EVERYBODY, self._key(item_id))
        if data is not None:
            return decode(data)
        return (await self.get_global_items_async([item_id])).get(item_id, default)

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
        """The values of those items that were found, as `get_item` finds them; each other one counts as a miss."""
        wanted, own, shared = self._find(item_ids)
        return _decoded(wanted, {**shared, **own})

    async def get_items_async(self, item_ids: Iterable[str]) -> dict[str, Any]:
        """`get_items` without blocking the event loop."""
        wanted, own, shared = await self._find_async(item_ids)
        return await _beside_the_loop(_decoded, wanted, {**shared, **own})

    def find_items(self, item_ids: Iterable[str]) -> dict[str, FoundItem]:
        """`get_items` that also tells where each item was."""
        return _found(*self._find(item_ids))

    async def find_items_async(self, item_ids: Iterable[str]) -> dict[str, FoundItem]:
        """`find_items` without blocking the event loop."""
        wanted, own, shared = await self._find_async(item_ids)
        return await _beside_the_loop(_found, wanted, own, shared)

    def _find(self, item_ids: Iterable[str]) -> tuple[list[str], dict[str, Encoded], dict[str, Encoded]]:
        """The ids, those items that are the organ's own, and those of the others that are shared."""
        wanted = self._keys(item_ids)
        self._refuse_event_loop("find_items")
        if not self._is_ready_for_reads():
            self.connect()
        own = self._own_reads.get_many(self.organ_id, wanted)
        rest = _without(wanted, own)
        shared = self._shared_reads.get_many(EVERYBODY, rest) if rest else {}
        self._count_misses(_without(rest, shared))
        return wanted, own, shared

    async def _find_async(self, item_ids: Iterable[str]) -> tuple[list[str], dict[str, Encoded], dict[str, Encoded]]:
        wanted = await self._keys_async(item_ids)
        if not self._is_ready_for_reads():
            await self.connect_async()
        own = await self._own_reads.get_many_async(self.organ_id, wanted)
        rest = _without(wanted, own)
        shared = await self._shared_reads.get_many_async(EVERYBODY, rest) if rest else {}
        await self._count_misses_async(_without(rest, shared))
        return wanted, own, shared

    def set_items(self, items: Mapping[str, Any], ttl_s: float | None = None) -> None:
        """`set_item` for many: all of them are kept, or none."""
        encoded, ttl_s = self._encode(items), check_ttl(ttl_s)
        self.connect()
        self._mw.write("set_many", self.organ_id, self._with_files(self._own_reads, encoded), ttl_s)

    async def set_items_async(self, items: Mapping[str, Any], ttl_s: float | None = None) -> None:
        """`set_items` without blocking the event loop."""
        encoded, ttl_s = await self._encode_async(items), check_ttl(ttl_s)
        await self.connect_async()
        sent = await self._with_files_async(self._own_reads, encoded)
        await self._mw.write_async("set_many", self.organ_id, sent, ttl_s)

    def delete_items(self, item_ids: Iterable[str]) -> list[str]:
        """Delete items of the organ; the ids of those that it had."""
        wanted = self._keys(item_ids)
        self.connect()
        return list(self._mw.write("delete_many", self.organ_id, wanted))

    async def delete_items_async(self, item_ids: Iterable[str]) -> list[str]:
        """`delete_items` without blocking the event loop."""
        wanted = await self._keys_async(item_ids)
        await self.connect_async()
        return list(await self._mw.write_async("delete_many", self.organ_id, wanted))

    # Many shared items

    def get_global_items(self, item_ids: Iterable[str]) -> dict[str, Any]:
        """The values of those shared items that exist; each other one counts as a miss."""
        wanted = self._keys(item_ids)
        self._refuse_event_loop("get_global_items")
        if not self._is_ready_for_reads():
            self.connect()
        shared = self._shared_reads.get_many(EVERYBODY, wanted)
        self._count_misses(_without(wanted, shared))
        return _decoded(wanted, shared)

    async def get_global_items_async(self, item_ids: Iterable[str]) -> dict[str, Any]:
        """`get_global_items` without blocking the event loop."""
        wanted = await self._keys_async(item_ids)
        if not self._is_ready_for_reads():
            await self.connect_async()
        shared = await self._shared_reads.get_many_async(EVERYBODY, wanted)
        await self._count_misses_async(_without(wanted, shared))
        return await _beside_the_loop(_decoded, wanted, shared)

    def set_global_items(self, items: Mapping[str, Any], ttl_s: float | None = None) -> None:
        """`set_global_item` for many: all or none. Beyond the cache's bounds the first of them go again at once."""
        encoded, ttl_s = self._encode(items), check_ttl(ttl_s)
        self.connect()
        self._shared_reads.report()
        self._shared.write("set_many", self._with_files(self._shared_reads, encoded), ttl_s)

    async def set_global_items_async(self, items: Mapping[str, Any], ttl_s: float | None = None) -> None:
        """`set_global_items` without blocking the event loop."""
        encoded, ttl_s = await self._encode_async(items), check_ttl(ttl_s)
        await self.connect_async()
        self._shared_reads.report()
        await self._shared.write_async("set_many", await self._with_files_async(self._shared_reads, encoded), ttl_s)

    def delete_global_items(self, item_ids: Iterable[str]) -> list[str]:
        """Delete shared items; the ids of those that were there."""
        wanted = self._keys(item_ids)
        self.connect()
        return list(self._shared.write("delete_many", wanted))

    async def delete_global_items_async(self, item_ids: Iterable[str]) -> list[str]:
        """`delete_global_items` without blocking the event loop."""
        wanted = await self._keys_async(item_ids)
        await self.connect_async()
        return list(await self._shared.write_async("delete_many", wanted))

    # Misses

    def get_hot_items(self, number: int = 10) -> list[HotItem]:
        """The items that were most often asked for and not found, by any organ, most missed first."""
        self.connect()
        return list(self._misses.call("top", number))

    async def get_hot_items_async(self, number: int = 10) -> list[HotItem]:
        """`get_hot_items` without blocking the event loop."""
        await self.connect_async()
        return list(await self._misses.call_async("top", number))

    def _count_misses(self, item_ids: list[str]) -> None:
        if item_ids:
            self._log_misses(item_ids)
            self._misses.write("record", item_ids)

    async def _count_misses_async(self, item_ids: list[str]) -> None:
        if item_ids:
            self._log_misses(item_ids)
            await self._misses.write_async("record", item_ids)

    def _log_misses(self, item_ids: list[str]) -> None:
        if logger.isEnabledFor(logging.DEBUG):
            for item_id in item_ids:
                fields = self._log_fields(item=item_id)
                logger.debug("organ %r asked for %r, which is not there", self.organ_id, item_id, extra=fields)

    # Checks and encoding

    def _key(self, item_id: str) -> str:
        return check_key("item_id", item_id, self._settings.key_max_length)

    def _keys(self, item_ids: Iterable[str]) -> list[str]:
        return list(dict.fromkeys(check_keys("item_id", item_ids, self._settings.key_max_length)))

    async def _keys_async(self, item_ids: Iterable[str]) -> list[str]:
        if isinstance(item_ids, Sized) and len(item_ids) > INLINE_ITEMS:
            return await asyncio.to_thread(self._keys, item_ids)
        return self._keys(item_ids)

    def _encode(self, items: Mapping[str, Any]) -> dict[str, Packed]:
        if not isinstance(items, Mapping):
            raise InvalidKeyError(f"items must be a mapping of item_id to value, not {type(items).__name__}")
        self._keys(items)
        encoded = {item_id: pack_new(*encode_aside(value, array_files.MIN_BYTES)) for item_id, value in items.items()}
        check_packed_sizes(encoded, self._settings.value_max_bytes, "VALUE_MAX_BYTES")
        return encoded

    async def _encode_async(self, items: Mapping[str, Any]) -> dict[str, Packed]:
        if isinstance(items, Mapping) and len(items) == 1 and all(map(_is_quickly_encoded, items.values())):
            return self._encode(items)
        return await asyncio.to_thread(self._encode, items)

    def _with_files(self, reads: ItemReads, encoded: Mapping[str, Packed]) -> Mapping[str, Packed]:
        """The values with their large arrays in files, if this process can write them beside the store; else the actor
        does, and has the better message if it cannot either.
        """
        if are_bytes(encoded):
            return encoded
        store = reads.find_file()
        if store is None:
            return encoded
        try:
            return {item_id: self._with_file(store, *unpack_new(value)) for item_id, value in encoded.items()}
        except OSError as error:
            logger.debug("arrays go through the actor: %s", error)
            return encoded

    def _with_file(self, store: Path, data: bytes, arrays: Sequence[Arrays]) -> bytes:
        if not arrays:
            return data
        return array_files.reference(array_files.write(store, arrays, self._settings.sqlite_synchronous), data)

    async def _with_files_async(self, reads: ItemReads, encoded: Mapping[str, Packed]) -> Mapping[str, Packed]:
        if are_bytes(encoded):
            return encoded
        return await asyncio.to_thread(self._with_files, reads, encoded)

    @staticmethod
    def _refuse_event_loop(method: str) -> None:
        if asyncio._get_running_loop() is None:  # without the exception that the public one raises
            return
        raise BlockingCallError(
            f"a blocking method of MwManager (via {method}) was called on a running event loop, which it would stall; "
            "await its _async twin: get_item_async, set_item_async, ..."
        )


def _without(item_ids: list[str], found: Mapping[str, Encoded]) -> list[str]:
    return [item_id for item_id in item_ids if item_id not in found]


def _found(wanted: list[str], own: Mapping[str, Encoded], shared: Mapping[str, Encoded]) -> dict[str, FoundItem]:
    return {
        item_id: FoundItem(decode(items[item_id]), source)
        for item_id in wanted
        for items, source in ((own, Source.ORGAN), (shared, Source.SHARED))
        if item_id in items
    }


def _decoded(wanted: list[str], items: Mapping[str, Encoded]) -> dict[str, Any]:
    return {item_id: decode(items[item_id]) for item_id in wanted if item_id in items}


async def _beside_the_loop(
    decode_all: Callable[..., dict[str, T]], wanted: list[str], *items: Mapping[str, Encoded]
) -> dict[str, T]:
    """Decode on a thread what is so large that it would stall the event loop."""
    if len(wanted) > INLINE_ITEMS or sum(map(_total_bytes, items)) > INLINE_BYTES:
        return await asyncio.to_thread(decode_all, wanted, *items)
    return decode_all(wanted, *items)


def _total_bytes(items: Mapping[str, Encoded]) -> int:
    return sum(len(item) if isinstance(item, bytes) else len(item.data) for item in items.values())


def _is_quickly_encoded(value: Any) -> bool:
    return value.nbytes <= INLINE_BYTES if isinstance(value, np.ndarray) else is_small(value)
