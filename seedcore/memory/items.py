"""One actor's items: read from its store's file where this process sees it, else by a call; written by a call."""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from seedcore.actors import calls
from seedcore.actors.calls import Call, Packed
from seedcore.cluster.actor_client import ActorClient
from seedcore.errors import ItemDamagedError, StoreUnavailableError
from seedcore.event_loop import INLINE_BYTES, INLINE_ITEMS, OfEachLoop
from seedcore.memory.gathered_looks import GatheredLooks
from seedcore.memory.located import Located
from seedcore.settings import Settings
from seedcore.store import limits
from seedcore.store.engine import Many
from seedcore.store.files import array_files
from seedcore.store.read_report import ReadReport, Reads
from seedcore.store.sqlite.store_reader import Unread
from seedcore.store.values.codec import Arrays, Encoded, aside_encoder, is_quickly_encoded

logger = logging.getLogger(__name__)


class Items:
    """The items of one actor, an `ItemKeeper`. Threads and event loops may share it.

    A read from the file sees every write that was acknowledged before it began, and needs neither the actor nor the
    Ray head. The actor is asked once where its store is, and again when that file cannot be read.

    Args:
        client: of the actor.
        settings: where this process would see its file.
        report: of what is read from there.
        bounds: bytes that a value may have, by the knobs that say so.
        evicts: whether a write may evict the least recently used, which the actor must know of then.
    """

    def __init__(
        self,
        client: ActorClient,
        settings: Settings,
        report: ReadReport[ActorClient],
        bounds: Mapping[str, int],
        *,
        evicts: bool = False,
    ) -> None:
        self._client = client
        self._synchronous = settings.sqlite_synchronous
        self._report = report
        self._bounds = bounds
        self._evicts = evicts
        self._file = Located(settings)
        self._gathered = OfEachLoop(
            lambda: GatheredLooks(
                partial(self._look, max_bytes=INLINE_BYTES), partial(self._look_at_many, max_bytes=INLINE_BYTES)
            )
        )

    @property
    def sees_file(self) -> bool:
        """Whether this process can read the store without its actor."""
        return self._file.reader is not None

    # Reads

    def get(self, owner: str, item_id: str) -> Encoded | None:
        """The encoded value of an item; None if there is none.

        Args:
            owner: the organ, or `EVERYBODY`.
            item_id: which.

        Raises:
            ActorUnavailableError, SeedCoreError: as `ActorClient.call`, if the actor had to be asked.
        """
        found = self._look(owner, item_id)
        return self._ask(owner, [item_id]).get(item_id) if isinstance(found, Unread) else found

    async def get_async(self, owner: str, item_id: str) -> Encoded | None:
        """`get` without blocking the event loop."""
        found = Unread.ASK if self._file.reader is None else await self._gathered.get().look(owner, item_id)
        if isinstance(found, Unread):
            value = (await self.get_many_async(owner, [item_id])).get(item_id)
            if isinstance(value, ItemDamagedError):
                raise value
            return value
        return found

    def get_many(self, owner: str, item_ids: Sequence[str]) -> Many:
        """The encoded values of those items that exist, by their ids, each of which is given once."""
        found = self._look_at_many(owner, item_ids)
        return self._ask_for_many(owner, item_ids) if found is None else found

    async def get_many_async(self, owner: str, item_ids: Sequence[str]) -> Many:
        """`get_many` without blocking the event loop."""
        found = None
        if self._file.reader is not None:
            if 1 < len(item_ids) <= INLINE_ITEMS:
                found = self._look_at_many(owner, item_ids, INLINE_BYTES)
            if found is None:
                found = await asyncio.to_thread(self._look_at_many, owner, item_ids)
        return await self._ask_for_many_async(owner, item_ids) if found is None else found

    def _look(self, owner: str, item_id: str, max_bytes: int | None = None) -> Encoded | Unread | None:
        """As `StoreReader.get`, and `ASK` where this process does not read the file."""
        reader = self._file.reader
        if reader is None:
            return Unread.ASK
        try:
            found = reader.get(owner, item_id, max_bytes)
        except StoreUnavailableError as error:
            self._file.lose(error)
            return Unread.ASK
        if found is None:
            self._report.add(self._client, (), 1)
        elif not isinstance(found, Unread):
            self._report.add(self._client, (item_id,), 0)
        return found

    def _look_at_many(
        self, owner: str, item_ids: Sequence[str], max_bytes: int | None = None
    ) -> Mapping[str, Encoded] | None:
        """The items in the file; None where the actor must be asked, or more bytes be read of one."""
        reader = self._file.reader
        if reader is None:
            return None
        try:
            found = reader.get_many(owner, item_ids, max_bytes)
        except StoreUnavailableError as error:
            self._file.lose(error)
            return None
        if found is not None:
            self._report.add(self._client, found, len(item_ids) - len(found))
        return found

    def _ask_for_many(self, owner: str, item_ids: Sequence[str]) -> Many:
        """Half of them at a time where one is damaged, until it stands alone."""
        try:
            return self._ask(owner, item_ids)
        except ItemDamagedError as error:
            if len(item_ids) == 1:
                return {item_ids[0]: error}
            first, second = _halves(item_ids)
            return {**self._ask_for_many(owner, first), **self._ask_for_many(owner, second)}

    async def _ask_for_many_async(self, owner: str, item_ids: Sequence[str]) -> Many:
        try:
            return await self._ask_async(owner, item_ids)
        except ItemDamagedError as error:
            if len(item_ids) == 1:
                return {item_ids[0]: error}
            first, second = _halves(item_ids)
            return {
                **await self._ask_for_many_async(owner, first),
                **await self._ask_for_many_async(owner, second),
            }

    def _ask(self, owner: str, item_ids: Sequence[str]) -> Mapping[str, Encoded]:
        found = _unpacked(self._client.call("get_many", owner, list(item_ids)))
        if self._file.should_ask():
            self._file.use(self._client.call("location"))
        return found

    async def _ask_async(self, owner: str, item_ids: Sequence[str]) -> Mapping[str, Encoded]:
        packed = await self._client.call_async("get_many", owner, list(item_ids))
        has_arrays = any(isinstance(value, list) for value in packed.values())  # which are copied
        found: Mapping[str, Encoded] = await asyncio.to_thread(_unpacked, packed) if has_arrays else packed
        if self._file.should_ask():
            self._file.use(await self._client.call_async("location"))
        return found

    # Writes

    def set_many(self, owner: str, packed: Mapping[str, Packed], ttl_s: float | None) -> None:
        """Keep the items, all or none.

        Args:
            owner: the organ, or `EVERYBODY`.
            packed: by `pack`.
            ttl_s: seconds after which they are gone, or None.

        Raises:
            ActorUnavailableError, SeedCoreError: as `ActorClient.write`.
        """
        ahead = note_reads(self._report.take(self._client)) if self._evicts else ()
        self._client.write("set_many", owner, packed, ttl_s, ahead=ahead)

    async def set_many_async(self, owner: str, packed: Mapping[str, Packed], ttl_s: float | None) -> None:
        """`set_many` without blocking the event loop."""
        ahead = note_reads(self._report.take(self._client)) if self._evicts else ()
        await self._client.write_async("set_many", owner, packed, ttl_s, ahead=ahead)

    def delete_many(self, owner: str, item_ids: Sequence[str]) -> list[str]:
        """Delete the items; the ids of those that were there."""
        deleted: list[str] = self._client.write("delete_many", owner, list(item_ids))
        return deleted

    async def delete_many_async(self, owner: str, item_ids: Sequence[str]) -> list[str]:
        """`delete_many` without blocking the event loop."""
        deleted: list[str] = await self._client.write_async("delete_many", owner, list(item_ids))
        return deleted

    async def pack_async(self, items: Mapping[str, Any]) -> dict[str, Packed]:
        """`pack` without blocking the event loop."""
        is_quick = len(items) == 1 and all(map(is_quickly_encoded, items.values()))
        return self.pack(items) if is_quick else await asyncio.to_thread(self.pack, items)

    def pack(self, items: Mapping[str, Any]) -> dict[str, Packed]:
        """The items as bytes, with their large arrays in files, if this process can write them beside the store; else
        beside the bytes: the actor writes them then, and has the better message if it cannot either.

        Raises:
            InvalidValueError, ValueTooLargeError: one of them cannot be kept.
        """
        packed = {}
        encode_aside = aside_encoder(array_files.MIN_BYTES)
        for item_id, value in items.items():
            packed[item_id] = calls.pack_new(*encode_aside(value))
            for knob, max_bytes in self._bounds.items():
                limits.validate_size(item_id, calls.packed_bytes(packed[item_id]), max_bytes, knob)
        if any(isinstance(one, list) for one in packed.values()):
            if self._file.should_ask():
                self._file.use(self._client.call("location"))
            return {item_id: self._with_file(one) for item_id, one in packed.items()}
        return packed

    def _with_file(self, packed: Packed) -> Packed:
        reader = self._file.reader
        if reader is None or isinstance(packed, bytes):
            return packed
        data: bytes = packed[0]
        arrays: list[Arrays] = packed[1:]
        try:
            return array_files.reference(array_files.write(reader.path, arrays, self._synchronous), data)
        except OSError as error:
            logger.debug("arrays go through the actor: %s", error)
            return packed


def note_reads(reads: Reads | None) -> list[Call]:
    """The call that tells an actor what was read of its file."""
    return [] if reads is None else [Call("note_reads", (reads.last_used, reads.hits, reads.misses))]


def _halves(item_ids: Sequence[str]) -> tuple[Sequence[str], Sequence[str]]:
    middle = len(item_ids) // 2
    return item_ids[:middle], item_ids[middle:]


def _unpacked(packed: Mapping[str, Packed]) -> Mapping[str, Encoded]:
    return {item_id: calls.unpack_found(value) for item_id, value in packed.items()}
