"""What keeps items in the process of an actor."""

import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from sqlite3 import Connection

from seedcore.actors.calls import Packed, pack_found, unpack_new
from seedcore.actors.store_keeper import StoreKeeper
from seedcore.errors import StoreUnavailableError
from seedcore.settings import Settings
from seedcore.store import limits
from seedcore.store.files import array_files
from seedcore.store.sqlite.item_store import ItemStore
from seedcore.store.sqlite.store_reader import locate


class ItemKeeper(StoreKeeper):
    """Keeps items of owners, which are organs, or everybody.

    Args:
        name: of the actor's class, for the log.
        settings: of its process.
        store: what it keeps them in.
        max_bytes: of one value, where a larger one would evict all others and itself.
    """

    def __init__(self, name: str, settings: Settings, store: ItemStore, max_bytes: int | None = None) -> None:
        super().__init__(name, store.database)
        self._settings = settings
        self._store = store
        self._max_bytes = max_bytes
        self._hits = 0
        self._misses = 0
        self._counting = threading.Lock()
        self.writes = {"set_many": self._set_many, "delete_many": store.delete_many}
        self.reads = {
            "get_many": self._get_many,
            "location": lambda: locate(store.database, settings.state_dir),
            "note_reads": self._note_reads,
        }

    def stats(self) -> dict[str, float]:
        """Items and bytes now, evictions and expirations ever, hits and misses since this process took over."""
        with suppress(StoreUnavailableError):  # of a store that can only be read now
            self.write(self._store.delete_expired)
        return {**self._store.stats(), "hits": self._hits, "misses": self._misses, **self.process_stats()}

    def _set_many(
        self, connection: Connection, owner: str, items: Mapping[str, Packed], ttl_s: float | None = None
    ) -> None:
        """Keep the items; a value's arrays that came beside it go to a file first."""
        values = {
            item_id: value if isinstance(value, bytes) and value[:1] != array_files.MARK else self._with_file(value)
            for item_id, value in items.items()
        }
        if self._max_bytes is not None:  # its clients may have another bound
            for item_id, value in values.items():
                size = array_files.value_bytes(value)
                limits.validate_size(item_id, size, self._max_bytes, "SHARED_CACHE_MAX_BYTES")
        self._store.set_many(connection, owner, values, ttl_s)

    def _with_file(self, packed: Packed) -> bytes:
        path = self._store.database.path
        if isinstance(packed, bytes):
            array_files.require_written(path, packed)
            return packed
        data, arrays = unpack_new(packed)
        with self._store.database.explained("write arrays beside"):
            return array_files.reference(array_files.write(path, arrays, self._settings.sqlite_synchronous), data)

    def _get_many(self, owner: str, item_ids: Sequence[str]) -> dict[str, Packed]:
        """The values of those items that are there, packed by `pack_found`."""
        database = self._store.database
        with database.explained("read"):
            found = array_files.load(database.path, lambda: self._store.get_many(owner, item_ids))
        self._count(len(found), len(item_ids) - len(found))
        self._save_uses_if_many()
        return {item_id: pack_found(value) for item_id, value in found.items()}

    def _note_reads(self, item_ids: Sequence[str], hits: int, misses: int) -> None:
        """Count what another process has read from the store's file.

        Args:
            item_ids: those that count as used now, the last one last; only of a store that everybody shares.
            hits: how many items were found.
            misses: how many were not.
        """
        self._count(hits, misses)
        self._store.note_uses(limits.EVERYBODY, item_ids)
        self._save_uses_if_many()

    def _count(self, hits: int, misses: int) -> None:
        with self._counting:
            self._hits += hits
            self._misses += misses

    def _save_uses_if_many(self) -> None:
        if self._store.has_unsaved_uses:
            with suppress(StoreUnavailableError):  # reads go on when nothing can be written
                self.write(self._store.save_uses)
