"""Reads items the shortest way: from the store's file where this process sees it, else by a call of its actor."""

import asyncio
import logging
import threading
import time
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Final

from seedcore.actors.packed_values import Packed, unpack_found
from seedcore.cluster.actor_client import ActorClient
from seedcore.errors import StoreUnavailableError
from seedcore.event_loop import INLINE_BYTES, INLINE_ITEMS
from seedcore.memory.gathered_reads import GatheredReads
from seedcore.memory.read_report import ReadReport
from seedcore.settings import Settings
from seedcore.store.files.array_files import Encoded
from seedcore.store.sqlite.item_store import MAX_VALUE_BYTES
from seedcore.store.sqlite.store_reader import StoreLocation, StoreReader

logger = logging.getLogger(__name__)

LOCATE_AGAIN_S: Final = 1.0  # after the store was not where this process can read it


class ItemReads:
    """The reads of one actor's items. Threads and event loops may share it.

    A read from the file sees every write that was acknowledged before it began, and needs neither the actor nor the
    Ray head. The actor is asked once where its store is, and again when that file cannot be read.

    Args:
        client: of the actor, an `ItemActor`.
        settings: where this process would see its file.
    """

    def __init__(self, client: ActorClient, settings: Settings) -> None:
        self._client = client
        self._settings = settings
        self._reader: StoreReader | None = None
        self._locate_at = 0.0  # on the monotonic clock
        self._report = ReadReport(client)
        self._of_thread = threading.local()

    def get_many(self, owner: str, item_ids: Sequence[str]) -> dict[str, Encoded]:
        """The encoded values of those items that exist and have not expired.

        Args:
            owner: the organ, or "" for the shared items.
            item_ids: each once.

        Raises:
            ActorUnavailableError, SeedCoreError: as `ActorClient.call`, if the actor had to be asked.
        """
        found = self._from_file(owner, item_ids)
        if found is None:
            found = _unpacked(self._client.call("get_many", *_arguments(owner, item_ids)))
            if self._should_locate():
                self._use(self._client.call("location"))
        return found

    def find_file(self) -> Path | None:
        """The store's file, if this process sees it.

        Raises:
            ActorUnavailableError, SeedCoreError: as `get_many`.
        """
        if self._should_locate():
            self._use(self._client.call("location"))
        return None if self._reader is None else self._reader.path

    def peek(self, owner: str, item_id: str, max_bytes: int = MAX_VALUE_BYTES) -> Encoded | None:
        """The encoded value of an item that is in the file and can be read at once; None says nothing.

        Args:
            owner: as in `get_many`.
            item_id: which.
            max_bytes: of the value.
        """
        reader = self._reader
        if reader is None:
            return None
        try:
            value = reader.get(owner, item_id, max_bytes)
        except StoreUnavailableError as error:
            self._lose(error)
            return None
        if value is not None:
            self._report.add_hit(item_id)
        return value

    async def peek_async(self, owner: str, item_id: str) -> Encoded | None:
        """`peek` of what can be read on the event loop itself; reads of one turn of the loop are done together."""
        if self._reader is None:
            return None
        return await self._gathered().read(owner, item_id)

    def _gathered(self) -> GatheredReads:
        """Of the loop that runs on this thread."""
        loop = asyncio.get_running_loop()
        gathered: GatheredReads | None = getattr(self._of_thread, "gathered", None)
        if gathered is None or gathered.loop is not loop:
            gathered = self._of_thread.gathered = GatheredReads(loop, self._peek_inline, self._peek_many_inline)
        return gathered

    def _peek_inline(self, owner: str, item_id: str) -> Encoded | None:
        return self.peek(owner, item_id, INLINE_BYTES)

    def _peek_many_inline(self, owner: str, item_ids: Sequence[str]) -> dict[str, Encoded]:
        reader = self._reader
        if reader is None:
            return {}
        try:
            found = reader.get_small(owner, item_ids, INLINE_BYTES)
        except StoreUnavailableError as error:
            self._lose(error)
            return {}
        self._report.add(found, 0)  # what is not found is asked for again, and counted then
        return found

    async def get_many_async(self, owner: str, item_ids: Sequence[str]) -> dict[str, Encoded]:
        """`get_many` without blocking the event loop."""
        found = None
        if self._reader is not None:
            if len(item_ids) <= INLINE_ITEMS:
                found = self._from_file(owner, item_ids, INLINE_BYTES)
            if found is None:
                found = await asyncio.to_thread(self._from_file, owner, item_ids)
        if found is None:
            packed = await self._client.call_async("get_many", *_arguments(owner, item_ids))
            if any(isinstance(value, list) for value in packed.values()):  # large arrays, which are copied
                found = await asyncio.to_thread(_unpacked, packed)
            else:
                found = packed
            if self._should_locate():
                self._use(await self._client.call_async("location"))
        return found

    @property
    def sees_file(self) -> bool:
        """Whether this process can read the store without its actor."""
        return self._reader is not None

    def report(self) -> None:
        """Tell the actor now what was read, so that a write which follows evicts the right items."""
        self._report.send()

    def _from_file(
        self, owner: str, item_ids: Sequence[str], max_bytes: int = MAX_VALUE_BYTES
    ) -> dict[str, Encoded] | None:
        reader = self._reader
        if reader is None:
            return None
        try:
            found = reader.get_many(owner, item_ids, max_bytes)
        except StoreUnavailableError as error:
            self._lose(error)
            return None
        if found is not None:
            self._report.add(found, len(item_ids) - len(found))
        return found

    def _lose(self, error: StoreUnavailableError) -> None:
        logger.debug("%s; its actor is asked", error)
        self._reader = None

    def _should_locate(self) -> bool:
        now = time.monotonic()
        if self._reader is not None or now < self._locate_at:
            return False
        self._locate_at = now + LOCATE_AGAIN_S
        return True

    def _use(self, location: StoreLocation | None) -> None:
        if location is None:
            return
        self._report.names_items = location.keeps_uses
        self._reader = StoreReader.at(location, self._settings.state_dir)
        if self._reader is None:
            logger.debug("%s is not a file of this process's machine; its actor is asked", location.file)


def _unpacked(packed: Mapping[str, Packed]) -> dict[str, Encoded]:
    return {item_id: unpack_found(value) for item_id, value in packed.items()}


def _arguments(owner: str, item_ids: Sequence[str]) -> tuple[object, ...]:
    return (owner, list(item_ids)) if owner else (list(item_ids),)


@cache
def item_reads(client: ActorClient, settings: Settings) -> ItemReads:
    """This process's one reader of the actor's items."""
    return ItemReads(client, settings)
