"""The actor `shared_cache`: items that every organ sees, within bounds."""

from seedcore.actors.item_keeper import ItemKeeper
from seedcore.actors.memory_actor import MemoryActor
from seedcore.actors.valkey_keeper import ValkeyKeeper
from seedcore.store.sqlite.item_store import Bounds, ItemStore


class SharedCache(MemoryActor):
    """Keeps shared items until they expire, are deleted, or are the least recently used beyond the bounds.

    What other processes read from the file counts as used when they tell, before their own next write of a shared
    item and a fraction of a second later at most. On another engine it sweeps what has expired out of the bounds.

    Args:
        store: the SQLite file, below `STATE_DIR`.
    """

    def __init__(self, store: str) -> None:
        settings = self.begin()
        if settings.memory_url:
            self._keeper = ValkeyKeeper("SharedCache", settings, lambda memory: memory.shared_stats())
        else:
            bounds = Bounds(settings.shared_cache_max_items, settings.shared_cache_max_bytes)
            items = ItemStore(settings.state_dir / store, settings.sqlite_synchronous, bounds)
            self._keeper = ItemKeeper("SharedCache", settings, items, bounds.max_bytes)
