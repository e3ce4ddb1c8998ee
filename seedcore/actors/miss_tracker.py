"""The actor `miss_tracker`: how often each item was asked for and not found."""

from seedcore.actors.memory_actor import MemoryActor
from seedcore.actors.store_keeper import StoreKeeper
from seedcore.actors.valkey_keeper import ValkeyKeeper
from seedcore.settings import Settings
from seedcore.store.sqlite.miss_store import MissStore
from seedcore.store.sqlite.store_reader import locate


class MissTracker(MemoryActor):
    """Counts misses by item id for at most `MISS_TRACKER_MAX_ITEMS` items, and keeps the most missed ones.

    Args:
        store: the SQLite file, below `STATE_DIR`.
    """

    def __init__(self, store: str) -> None:
        settings = self.begin()
        if settings.memory_url:
            self._keeper = ValkeyKeeper("MissTracker", settings, lambda memory: memory.misses.totals())
        else:
            self._keeper = _MissKeeper(settings, store)


class _MissKeeper(StoreKeeper):
    def __init__(self, settings: Settings, store: str) -> None:
        self._store = MissStore(
            settings.state_dir / store, settings.sqlite_synchronous, settings.miss_tracker_max_items
        )
        super().__init__("MissTracker", self._store.database)
        self.writes = {"record": self._store.record}
        self.reads = {"top": self._store.top, "location": lambda: locate(self._store.database, settings.state_dir)}

    def stats(self) -> dict[str, float]:
        """Items counted now, misses ever, and counters that were taken over by other items."""
        return {**self._store.stats(), **self.process_stats()}
