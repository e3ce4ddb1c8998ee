"""The memory of one process, on the engine at `MEMORY_URL`."""

import time
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, wait
from functools import partial
from itertools import groupby, islice
from typing import Any, Final

from seedcore.errors import ItemDamagedError
from seedcore.event_loop import in_thread
from seedcore.settings import Settings
from seedcore.store import limits
from seedcore.store.engine import EngineState
from seedcore.store.read_report import ReadReport, Reads
from seedcore.store.valkey import scripts
from seedcore.store.valkey.client import Batch, Steps, ValkeyClient
from seedcore.store.valkey.engine_state import state_of
from seedcore.store.valkey.envelope import HEAD_WITH_PIECES, size_of_pieces
from seedcore.store.valkey.items import GivenUp, ValkeyItems
from seedcore.store.valkey.keys import Keys
from seedcore.store.valkey.misses import ValkeyMisses
from seedcore.store.values.codec import Encoded

Row = tuple[str, str, Encoded, float | None]
OWN, SHARED = "own", "shared"
VALUES: Final = ("TYPE", "string")  # what another application may have made of a key is no item
EXPIRED: Final = -2  # what PTTL says of no key
PORTION_BYTES: Final = 8 * 2**20  # of values that are read at once for a backup, or a single one
COUNT_EVERY_S: Final = 10.0
COUNT_WAIT_S: Final = 0.5  # then the count of before is told
SCAN_NUMBER: Final = 1000  # of keys that the engine looks at in one go


class ValkeyMemory:
    """What all managers of a process share; no actor is on the way.

    Args:
        settings: where the engine is, and the bounds.
    """

    is_readable = True  # nothing must be found first

    def __init__(self, settings: Settings) -> None:
        self.client = ValkeyClient(settings)
        self.name = f"the engine at {self.client.address}"
        self.keys = Keys(settings.ray_namespace)
        self.misses = ValkeyMisses(self.client, self.keys, settings.miss_tracker_max_items)
        tell = {OWN: partial(self._tell, OWN), SHARED: partial(self._tell, SHARED)}
        self._report = self.misses.report = ReadReport(tell, SHARED, self.misses.record)
        bounds = {"VALUE_MAX_BYTES": settings.value_max_bytes}
        given_up = GivenUp()
        self.own = ValkeyItems(self.client, self.keys, self._report, OWN, bounds, given_up)
        self._items, self._count_at = 0, 0.0
        self._counting: Future[int] | None = None
        most = settings.shared_cache_max_items, settings.shared_cache_max_bytes
        bounds_of_shared = {**bounds, "SHARED_CACHE_MAX_BYTES": settings.shared_cache_max_bytes}
        self.shared = ValkeyItems(
            self.client, self.keys, self._report, SHARED, bounds_of_shared, given_up, most, self._tell_of_shared
        )

    def connect(self) -> None:
        """See that the engine answers.

        Raises:
            SeedCoreError: it does not.
        """
        self.client.run(self._ping())

    async def connect_async(self) -> None:
        """`connect` without blocking the event loop."""
        await self.client.run_async(self._ping())

    def _ping(self) -> Steps[None]:
        yield Batch(self.keys.reads(), [("EXISTS", self.keys.reads())])

    def state(self) -> EngineState:
        """Of every server that has keys of its own."""
        return state_of(self.client)

    def close(self) -> None:
        """Tell what is not told yet, and end the connections."""
        self._report.close()
        self.client.close()

    def _tell(self, store: str, reads: Reads) -> None:
        self.client.run(self._told(store, reads))

    def _tell_of_shared(self) -> Steps[None]:
        if reads := self._report.take(SHARED):
            yield from self._told(SHARED, reads)

    def _told(self, store: str, reads: Reads) -> Steps[None]:
        key = self.keys.reads()
        counts = [("HINCRBY", key, f"{store}-hits", reads.hits), ("HINCRBY", key, f"{store}-misses", reads.misses)]
        yield Batch(key, counts)
        if reads.used:
            bounds = self.keys.bounds()
            yield Batch(bounds[0], [scripts.call(scripts.TOUCH, bounds, *reads.last_used)])

    def all_items(self, damaged: list[str] | None = None) -> Iterator[Row]:
        """Every item: owner, id, value, and the seconds since the epoch at which it expires.

        Args:
            damaged: gets what is wrong with an item that is not as it was written; None raises it.

        Raises:
            ItemDamagedError: one is not as it was written.
        """
        for batch in _batched(set(self.client.scan(self.keys.all_items, SCAN_NUMBER, *VALUES)), SCAN_NUMBER):
            of_owner: dict[str, list[str]] = {}
            for owner, item_id in map(self.keys.parse_item, batch):
                of_owner.setdefault(owner, []).append(item_id)
            for owner, item_ids in of_owner.items():
                yield from self._in_portions(owner, item_ids, damaged)

    def shared_items_by_use(self, damaged: list[str] | None = None) -> Iterator[Row]:
        """The shared ones among them, the least recently used first."""
        uses = self.keys.bounds()[0]
        item_ids = [item_id.decode() for item_id in self.client.run(_one(Batch(uses, [("ZRANGE", uses, 0, -1)])))]
        for batch in _batched(item_ids, SCAN_NUMBER):
            yield from self._in_portions(limits.EVERYBODY, list(batch), damaged)

    def _in_portions(self, owner: str, item_ids: list[str], damaged: list[str] | None) -> Iterator[Row]:
        portion: list[str] = []
        size = 0
        for item_id, item_bytes in zip(item_ids, self.client.run(self._sizes(owner, item_ids)), strict=True):
            if portion and size + item_bytes > PORTION_BYTES:
                yield from self.client.run(self._with_expiry(owner, portion, damaged))
                portion, size = [], 0
            portion.append(item_id)
            size += item_bytes
        yield from self.client.run(self._with_expiry(owner, portion, damaged))

    def _sizes(self, owner: str, item_ids: list[str]) -> Steps[list[int]]:
        keys = self.keys.items(owner, item_ids)
        lengths = yield Batch(keys[0], [("STRLEN", key) for key in keys])
        heads = yield Batch(keys[0], [("GETRANGE", key, 0, HEAD_WITH_PIECES - 1) for key in keys])
        return [length + size_of_pieces(head) for length, head in zip(lengths, heads, strict=True)]

    def _with_expiry(self, owner: str, item_ids: list[str], damaged: list[str] | None) -> Steps[list[Row]]:
        found = yield from self.own.look(owner, item_ids)
        keys = self.keys.items(owner, item_ids)
        left = yield Batch(keys[0], [("PTTL", key) for key in keys])
        now = time.time()
        rows = []
        for item_id, left_ms in zip(item_ids, left, strict=True):
            value = found.get(item_id)
            if isinstance(value, ItemDamagedError):
                if damaged is None:
                    raise value
                damaged.append(str(value))
            elif value is not None and left_ms != EXPIRED:
                rows.append((owner, item_id, value, None if left_ms < 0 else now + left_ms / 1000))
        return rows

    def clear(self) -> None:
        """Delete all that is ours in the namespace, but for the answers to writes."""
        bounds = self.keys.bounds()
        # At once, since they count each other.
        self.client.run(_one(Batch(bounds[0], [("UNLINK", *bounds)], is_write=True)))
        ours = sorted(key for key in set(self.client.scan(self.keys.everything, SCAN_NUMBER)) if not _is_answer(key))
        for _, of_owner in groupby(ours, key=lambda key: key.partition(b"}:")[0]):  # which are in one slot
            for some in _batched(of_owner, SCAN_NUMBER):
                self.client.run(_one(Batch(some[0], [("UNLINK", *some)], is_write=True)))

    def own_stats(self) -> dict[str, float]:
        """How many items organs have, counted now and then, and how many gets found one, or none."""
        if self._counting is None and time.monotonic() >= self._count_at:
            self._counting = in_thread(self._count)
        counting = self._counting
        if counting is not None and wait([counting], COUNT_WAIT_S).done:
            self._counting = None
            self._items = counting.result()
        shared = self.client.run(self._totals())["items"]
        reads = self.client.run(self._reads_of(OWN))
        return {"items": max(0, self._items - shared), **reads, **self.state().numbers}

    def _count(self) -> int:
        began = time.monotonic()
        try:
            return sum(1 for _ in self.client.scan(self.keys.all_items, SCAN_NUMBER))
        finally:  # not more than a tenth of the time of one thread
            ended = time.monotonic()
            self._count_at = ended + max(COUNT_EVERY_S, 10 * (ended - began))

    def shared_stats(self) -> dict[str, int]:
        """Shared items and their bytes now, evictions and expirations ever, gets that found one, or none."""
        return {**self.client.run(self._totals()), **self.client.run(self._reads_of(SHARED))}

    def _reads_of(self, store: str) -> Steps[dict[str, int]]:
        key = self.keys.reads()
        (found,) = yield Batch(key, [("HMGET", key, f"{store}-hits", f"{store}-misses")])
        return {"hits": int(found[0] or 0), "misses": int(found[1] or 0)}

    def _totals(self) -> Steps[dict[str, int]]:
        bounds = self.keys.bounds()
        (found,) = yield Batch(bounds[0], [scripts.call(scripts.SWEEP, bounds)])
        totals = dict(zip(found[::2], found[1::2], strict=True))
        return {name: int(totals.get(name.encode(), 0)) for name in ("items", "bytes", "evictions", "expirations")}


def _is_answer(key: bytes) -> bool:
    """Whether it is the key of a client's requests, as `Keys.requests` makes it."""
    return key.partition(b"}:")[2].startswith(b"r:")


def _one(batch: Batch) -> Steps[Any]:
    (answer,) = yield batch
    return answer


def _batched(some: Iterable[Any], number: int) -> Iterator[tuple[Any, ...]]:
    waiting = iter(some)
    while batch := tuple(islice(waiting, number)):
        yield batch
