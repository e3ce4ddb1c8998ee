"""Misses in the engine, counted within a bound."""

import asyncio
from collections.abc import Sequence

from seedcore.store.engine import HotItem
from seedcore.store.read_report import ReadReport
from seedcore.store.requests import RequestId
from seedcore.store.valkey import scripts
from seedcore.store.valkey.client import Batch, Steps, ValkeyClient
from seedcore.store.valkey.items import MANY, NUMBERED_MS
from seedcore.store.valkey.keys import Keys


class ValkeyMisses:
    """The miss counters of a namespace. Threads and event loops may share it.

    Args:
        client: of the engine.
        keys: what the counters are called there.
        max_items: that are counted at a time.
    """

    def __init__(self, client: ValkeyClient, keys: Keys, max_items: int) -> None:
        self._client, self._keys, self._max_items = client, keys, max_items
        self.report: ReadReport[str]  # what this process has missed, which is counted first

    def add(self, item_ids: Sequence[str]) -> None:
        """As `engine.Misses.add`."""
        self.report.add_missed(item_ids)

    def record(self, missed: dict[str, int], request: RequestId) -> None:
        """Count misses, by item id."""
        self._client.run(self._record(missed, request))

    def _record(self, missed: dict[str, int], request: RequestId) -> Steps[None]:
        keys = [self._keys.requests("", request.client_id), *self._keys.misses()]
        counts = [part for pair in missed.items() for part in pair]
        once = (request.number, request.first_incomplete, NUMBERED_MS)
        yield Batch(keys[0], [scripts.call(scripts.RECORD, keys, *once, self._max_items, *counts)], is_write=True)

    def top(self, number: int) -> list[HotItem]:
        """As `engine.Misses.top`."""
        for _ in range(2):  # the first may have begun before what this process missed last
            if self.report.has_missed:
                self.report.sending_missed().result()
        return self._client.run(self._top(number))

    async def top_async(self, number: int) -> list[HotItem]:
        """`top` without blocking the event loop."""
        for _ in range(2):
            if self.report.has_missed:
                await asyncio.wrap_future(self.report.sending_missed())
        return await self._client.run_async(self._top(number))

    def _top(self, number: int) -> Steps[list[HotItem]]:
        if not number:
            return []
        counts, overcounts, _ = self._keys.misses()
        (found,) = yield Batch(counts, [scripts.call(scripts.TOP, [counts, overcounts], number - 1)])
        return [
            HotItem(item_id.decode(), -int(float(score)), int(overcount))
            for item_id, score, overcount in zip(found[::3], found[1::3], found[2::3], strict=True)
        ]

    def put(self, counters: Sequence[HotItem]) -> None:
        """Put counters of another engine here, where there are none."""
        self._client.run(self._put(counters))

    def _put(self, counters: Sequence[HotItem]) -> Steps[None]:
        counts, overcounts, totals = self._keys.misses()
        dropped = max((counter.overcount for counter in counters), default=0)
        total = sum(counter.misses - counter.overcount for counter in counters)
        yield Batch(totals, [("HSET", totals, "misses", total, "highest_dropped", dropped)], is_write=True)
        for start in range(0, len(counters), MANY):
            some = counters[start : start + MANY]
            places = [part for counter in some for part in (-counter.misses, counter.item_id)]
            over = [part for counter in some for part in (counter.item_id, counter.overcount)]
            yield Batch(counts, [("ZADD", counts, *places), ("HSET", overcounts, *over)], is_write=True)

    def totals(self) -> dict[str, int]:
        """Items counted now, all misses ever recorded, and how many items lost their counter to another."""
        return self._client.run(self._totals())

    def _totals(self) -> Steps[dict[str, int]]:
        counts, _, totals = self._keys.misses()
        items, found = yield Batch(counts, [("ZCARD", counts), ("HMGET", totals, "misses", "evictions")])
        return {"items": items, "misses": int(found[0] or 0), "evictions": int(found[1] or 0)}
