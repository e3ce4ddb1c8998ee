"""The actor `mw`: what each organ remembers."""

from collections.abc import Mapping, Sequence

from seedcore.memory.item_actor import ItemActor
from seedcore.memory.item_store import ItemStore
from seedcore.memory.limits import check_key
from seedcore.memory.packed_values import Packed
from seedcore.memory.request_log import RequestId


class MwStore(ItemActor):
    """Keeps every organ's items until they expire or are deleted. Values are bytes; `MwManager` encodes them.

    Args:
        store: the SQLite file, below `STATE_DIR`.
    """

    def __init__(self, store: str) -> None:
        super().__init__()
        self.keeps(ItemStore(self.settings.state_dir / store, self.settings.sqlite_synchronous))

    async def get_many(self, organ_id: str, item_ids: Sequence[str]) -> dict[str, Packed]:
        """The values of those items that the organ has, packed by `packed_values.pack_found`."""
        return await self._get(self._organ(organ_id), item_ids)

    async def set_many(
        self, organ_id: str, items: Mapping[str, Packed], ttl_s: float | None = None, request: RequestId | None = None
    ) -> None:
        """Store items of the organ; returns when they are durable.

        Args:
            organ_id: whose items.
            items: encoded values by item id, as `packed_values.pack_new` packs them.
            ttl_s: seconds after which they are gone, or None.
            request: repeats of the same one are done once.
        """
        await self._set(self._organ(organ_id), items, ttl_s, request)

    async def delete_many(self, organ_id: str, item_ids: Sequence[str], request: RequestId | None = None) -> list[str]:
        """Delete items of the organ; returns the ids of those that it had."""
        return await self._delete(self._organ(organ_id), item_ids, request)

    def _organ(self, organ_id: object) -> str:
        return check_key("organ_id", organ_id, self.settings.key_max_length)
