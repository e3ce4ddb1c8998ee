"""The actor `miss_tracker`: how often each item was asked for and not found."""

from collections import Counter
from collections.abc import Sequence

from seedcore.actors.store_actor import StoreActor
from seedcore.errors import InvalidValueError
from seedcore.store.limits import check_keys
from seedcore.store.sqlite.group_commit import Operation
from seedcore.store.sqlite.miss_store import HotItem, MissStore
from seedcore.store.sqlite.request_log import RequestId


class MissTracker(StoreActor):
    """Counts misses by item id for at most `MISS_TRACKER_MAX_ITEMS` items, and keeps the most missed ones.

    Args:
        store: the SQLite file, below `STATE_DIR`.
    """

    def __init__(self, store: str) -> None:
        super().__init__()
        settings = self.settings
        self._store = MissStore(
            settings.state_dir / store, settings.sqlite_synchronous, settings.miss_tracker_max_items
        )
        self.owns(self._store.database)
        self.preparations = {"record": self._record}

    def record(self, item_ids: Sequence[str], request: RequestId | None = None) -> None:
        """Count one miss for each id; an id that stands there twice counts twice. Returns when it is durable."""
        self.write(self._record(item_ids), request)

    def _record(self, item_ids: Sequence[str]) -> Operation:
        misses = Counter(check_keys("item_id", item_ids, self.settings.key_max_length))
        return lambda connection: self._store.record(connection, misses)

    def top(self, number: int) -> list[HotItem]:
        """The most missed items, most missed first."""
        if isinstance(number, bool) or not isinstance(number, int) or number < 0:
            raise InvalidValueError(f"the number of hot items must be a whole number from 0 on: {number!r}")
        wanted = min(number, self.settings.miss_tracker_max_items)
        return self.read(lambda: self._store.top(wanted))

    def stats(self) -> dict[str, float]:
        """Items counted now, misses ever, and counters that were taken over by other items."""
        return {**self.read(self._store.stats), **self.process_stats()}
