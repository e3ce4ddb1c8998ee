"""The actor `mw`: what each organ remembers."""

from seedcore.actors.item_keeper import ItemKeeper
from seedcore.actors.memory_actor import MemoryActor
from seedcore.actors.valkey_keeper import ValkeyKeeper
from seedcore.store.sqlite.item_store import ItemStore


class MwStore(MemoryActor):
    """Keeps every organ's items until they expire or are deleted; on another engine it counts them.

    Args:
        store: the SQLite file, below `STATE_DIR`.
    """

    def __init__(self, store: str) -> None:
        settings = self.begin()
        if settings.memory_url:
            self._keeper = ValkeyKeeper("MwStore", settings, lambda memory: memory.own_stats())
        else:
            items = ItemStore(settings.state_dir / store, settings.sqlite_synchronous)
            self._keeper = ItemKeeper("MwStore", settings, items)
