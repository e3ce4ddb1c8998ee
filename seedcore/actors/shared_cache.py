"""The actor `shared_cache`: items that every organ sees, within bounds."""

from collections.abc import Callable, Mapping, Sequence
from sqlite3 import Connection

from seedcore.actors.item_actor import ItemActor
from seedcore.actors.packed_values import Packed, are_bytes, check_packed_sizes
from seedcore.store.sqlite.group_commit import Operation
from seedcore.store.sqlite.item_store import EVERYBODY, Bounds, ItemStore
from seedcore.store.sqlite.request_log import RequestId


class SharedCache(ItemActor):
    """Keeps shared items until they expire, are deleted, or are the least recently used beyond the bounds.

    What other processes read from the file counts as used when they tell, before their own next write of a shared
    item and a fraction of a second later at most.

    Args:
        store: the SQLite file, below `STATE_DIR`.
    """

    def __init__(self, store: str) -> None:
        super().__init__()
        bounds = Bounds(self.settings.shared_cache_max_items, self.settings.shared_cache_max_bytes)
        self.keeps(ItemStore(self.settings.state_dir / store, self.settings.sqlite_synchronous, bounds))
        self.preparations = {"set_many": self._set_many, "delete_many": self._delete_many}

    def get_many(self, item_ids: Sequence[str]) -> dict[str, Packed]:
        """The values of those items that are there, packed by `packed_values.pack_found`; each counts as used now."""
        return self._get(EVERYBODY, item_ids)

    def set_many(
        self, items: Mapping[str, Packed], ttl_s: float | None = None, request: RequestId | None = None
    ) -> None:
        """Store shared items; returns when they are durable. Evicts the least recently used beyond the bounds.

        Args:
            items: encoded values by item id, as `packed_values.pack_new` packs them.
            ttl_s: seconds after which they are gone, or None.
            request: repeats of the same one are done once.

        Raises:
            ValueTooLargeError: a value is larger than the whole cache may be.
        """
        self._check_fit(items)
        self.write(self._set(EVERYBODY, self._with_files(items), ttl_s), request)

    def delete_many(self, item_ids: Sequence[str], request: RequestId | None = None) -> list[str]:
        """Delete shared items; returns the ids of those that were there."""
        return self.write(self._delete_many(item_ids), request)

    def _set_many(self, items: Mapping[str, Packed], ttl_s: float | None = None) -> Operation | None:
        self._check_fit(items)
        return self._set(EVERYBODY, items, ttl_s) if are_bytes(items) else None

    def _delete_many(self, item_ids: Sequence[str]) -> Callable[[Connection], list[str]]:
        return self._delete(EVERYBODY, item_ids)

    def _check_fit(self, items: Mapping[str, Packed]) -> None:
        check_packed_sizes(items, self.settings.shared_cache_max_bytes, "SHARED_CACHE_MAX_BYTES")
