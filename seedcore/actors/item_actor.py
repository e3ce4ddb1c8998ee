"""The actor side of an item store: hits, misses and group commit around it."""

import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from sqlite3 import Connection

from seedcore.actors.packed_values import Packed, are_bytes, check_packed_sizes, pack_found, unpack_new
from seedcore.actors.store_actor import StoreActor
from seedcore.errors import StoreUnavailableError
from seedcore.store.codec import Arrays
from seedcore.store.files import array_files
from seedcore.store.limits import check_keys, check_ttl
from seedcore.store.sqlite.group_commit import Operation
from seedcore.store.sqlite.item_store import EVERYBODY, ItemStore
from seedcore.store.sqlite.store_clock import this_boot
from seedcore.store.sqlite.store_reader import StoreLocation


class ItemActor(StoreActor):
    """Base of MwStore and SharedCache."""

    def __init__(self) -> None:
        super().__init__()
        self.hits = 0
        self.misses = 0
        self._counting = threading.Lock()
        self._store: ItemStore

    def keeps(self, store: ItemStore) -> None:
        """Take the store as this actor's."""
        self._store = store
        self.owns(store.database)

    def stats(self) -> dict[str, float]:
        """Items and bytes now, evictions and expirations ever, hits and misses since this process took over."""
        with suppress(StoreUnavailableError):  # of a store that can only be read now
            self.write(self._store.delete_expired)
        return {**self.read(self._store.stats), "hits": self.hits, "misses": self.misses, **self.process_stats()}

    def location(self) -> StoreLocation | None:
        """Where the store is, for processes that see its file and can read it; None while it cannot be written."""
        database = self._store.database
        if database.identity is None:
            return None
        file = str(database.path.relative_to(self.settings.state_dir))
        return StoreLocation(file, this_boot(), *database.identity, self._store.is_bounded)

    def note_reads(self, item_ids: Sequence[str], hits: int, misses: int) -> None:
        """Count what another process has read from the store's file.

        Args:
            item_ids: those that count as used now, the last one last; only of a store that everybody shares.
            hits: how many items were found.
            misses: how many were not.
        """
        self._count(hits, misses)
        self._store.note_uses(EVERYBODY, item_ids)
        self._save_uses_if_many()

    def _get(self, owner: str, item_ids: Sequence[str]) -> dict[str, Packed]:
        wanted = dict.fromkeys(check_keys("item_id", item_ids, self.settings.key_max_length))
        found = self.read(lambda: self._load(owner, wanted))
        self._count(len(found), len(wanted) - len(found))
        self._save_uses_if_many()
        return {item_id: pack_found(value) for item_id, value in found.items()}

    def _count(self, hits: int, misses: int) -> None:
        with self._counting:
            self.hits += hits
            self.misses += misses

    def _load(self, owner: str, wanted: Mapping[str, None]) -> dict[str, array_files.Encoded]:
        database = self._store.database
        with database.explained("read"):
            return array_files.load(database.path, lambda: self._store.get_many(owner, wanted))

    def _save_uses_if_many(self) -> None:
        if self._store.has_unsaved_uses:
            with suppress(StoreUnavailableError):  # reads go on when nothing can be written
                self.write(self._store.save_uses)

    def _with_files(self, items: Mapping[str, Packed]) -> Mapping[str, bytes]:
        """The items, with arrays that came beside them in files."""
        if are_bytes(items):
            return items
        check_packed_sizes(items, self.settings.value_max_bytes, "VALUE_MAX_BYTES")
        return {item_id: self._with_file(*unpack_new(value)) for item_id, value in items.items()}

    def _set(self, owner: str, items: Mapping[str, bytes], ttl_s: float | None) -> Operation:
        """The write of items without arrays beside them."""
        check_keys("item_id", items, self.settings.key_max_length)
        check_packed_sizes(items, self.settings.value_max_bytes, "VALUE_MAX_BYTES")
        ttl_s = check_ttl(ttl_s)
        values: dict[str, bytes] = dict(items)
        for value in filter(array_files.is_reference, values.values()):
            array_files.check_written(self._store.database.path, value)
        return lambda connection: self._store.set_many(connection, owner, values, ttl_s)

    def _with_file(self, data: bytes, arrays: Sequence[Arrays]) -> bytes:
        if not arrays:
            return data
        database = self._store.database
        with database.explained("write arrays beside"):
            return array_files.reference(
                array_files.write(database.path, arrays, self.settings.sqlite_synchronous), data
            )

    def _delete(self, owner: str, item_ids: Sequence[str]) -> Callable[[Connection], list[str]]:
        wanted = check_keys("item_id", item_ids, self.settings.key_max_length)
        return lambda connection: self._store.delete_many(connection, owner, wanted)
