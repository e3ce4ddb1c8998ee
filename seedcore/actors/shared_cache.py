"""The actor `shared_cache`: items that every organ sees, within bounds."""

from seedcore.actors.item_actor import ItemActor
from seedcore.actors.store_actor import begin
from seedcore.store.sqlite.item_store import Bounds, ItemStore


class SharedCache(ItemActor):
    """Keeps shared items until they expire, are deleted, or are the least recently used beyond the bounds.

    What other processes read from the file counts as used when they tell, before their own next write of a shared
    item and a fraction of a second later at most.

    Args:
        store: the SQLite file, below `STATE_DIR`.
    """

    def __init__(self, store: str) -> None:
        settings = begin()
        bounds = Bounds(settings.shared_cache_max_items, settings.shared_cache_max_bytes)
        items = ItemStore(settings.state_dir / store, settings.sqlite_synchronous, bounds)
        super().__init__(settings, items, bounds.max_bytes)
