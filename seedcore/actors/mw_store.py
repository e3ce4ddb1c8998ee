"""The actor `mw`: what each organ remembers."""

from collections.abc import Callable, Mapping, Sequence
from sqlite3 import Connection

from seedcore.actors.item_actor import ItemActor
from seedcore.actors.packed_values import Packed, are_bytes
from seedcore.store.limits import check_key
from seedcore.store.sqlite.group_commit import Operation
from seedcore.store.sqlite.item_store import ItemStore
from seedcore.store.sqlite.request_log import RequestId


class MwStore(ItemActor):
    """Keeps every organ's items until they expire or are deleted. Values are bytes; `MwManager` encodes them.

    Args:
        store: the SQLite file, below `STATE_DIR`.
    """

    def __init__(self, store: str) -> None:
        super().__init__()
        self.keeps(ItemStore(self.settings.state_dir / store, self.settings.sqlite_synchronous))
        self.preparations = {"set_many": self._set_many, "delete_many": self._delete_many}

    def get_many(self, organ_id: str, item_ids: Sequence[str]) -> dict[str, Packed]:
        """The values of those items that the organ has, packed by `packed_values.pack_found`."""
        return self._get(self._organ(organ_id), item_ids)

    def set_many(
        self, organ_id: str, items: Mapping[str, Packed], ttl_s: float | None = None, request: RequestId | None = None
    ) -> None:
        """Store items of the organ; returns when they are durable.

        Args:
            organ_id: whose items.
            items: encoded values by item id, as `packed_values.pack_new` packs them.
            ttl_s: seconds after which they are gone, or None.
            request: repeats of the same one are done once.
        """
        organ = self._organ(organ_id)
        self.write(self._set(organ, self._with_files(items), ttl_s), request)

    def delete_many(self, organ_id: str, item_ids: Sequence[str], request: RequestId | None = None) -> list[str]:
        """Delete items of the organ; returns the ids of those that it had."""
        return self.write(self._delete_many(organ_id, item_ids), request)

    def _set_many(self, organ_id: str, items: Mapping[str, Packed], ttl_s: float | None = None) -> Operation | None:
        return self._set(self._organ(organ_id), items, ttl_s) if are_bytes(items) else None

    def _delete_many(self, organ_id: str, item_ids: Sequence[str]) -> Callable[[Connection], list[str]]:
        return self._delete(self._organ(organ_id), item_ids)

    def _organ(self, organ_id: object) -> str:
        return check_key("organ_id", organ_id, self.settings.key_max_length)
