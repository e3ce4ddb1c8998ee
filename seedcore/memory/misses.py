"""What was most often missed: read from the tracker's file where this process sees it, else by a call."""

import asyncio
from collections.abc import Sequence

from seedcore.cluster.actor_client import ActorClient
from seedcore.errors import StoreUnavailableError
from seedcore.event_loop import INLINE_ITEMS
from seedcore.memory.located import Located
from seedcore.settings import Settings
from seedcore.store.engine import HotItem
from seedcore.store.read_report import ReadReport


class Misses:
    """The counters of one `MissTracker`. Threads and event loops may share it.

    Args:
        client: of the actor.
        settings: where this process would see its file.
        report: of what this process has missed, which is counted first.
    """

    def __init__(self, client: ActorClient, settings: Settings, report: ReadReport[ActorClient]) -> None:
        self._client = client
        self._report = report
        self._file = Located(settings)

    def add(self, item_ids: Sequence[str]) -> None:
        """As `engine.Misses.add`."""
        self._report.add_missed(item_ids)

    def top(self, number: int) -> list[HotItem]:
        """The most missed items, most missed first; ties in the order of their ids.

        Raises:
            ActorUnavailableError, SeedCoreError: as `ActorClient.call`, if the actor had to be told or asked.
        """
        for _ in range(2):  # the first may have begun before what this process missed last
            if self._report.has_missed:
                self._report.sending_missed().result()
        found = self._look(number)
        if found is None:
            found = [HotItem(*item) for item in self._client.call("top", number)]
            if self._file.should_ask():
                self._file.use(self._client.call("location"))
        return found

    async def top_async(self, number: int) -> list[HotItem]:
        """`top` without blocking the event loop."""
        for _ in range(2):
            if self._report.has_missed:
                await asyncio.wrap_future(self._report.sending_missed())
        found = self._look(number) if number <= INLINE_ITEMS else await asyncio.to_thread(self._look, number)
        if found is None:
            found = [HotItem(*item) for item in await self._client.call_async("top", number)]
            if self._file.should_ask():
                self._file.use(await self._client.call_async("location"))
        return found

    def _look(self, number: int) -> list[HotItem] | None:
        """What the file tells; None where the actor must be asked."""
        reader = self._file.reader
        if reader is None:
            return None
        try:
            return reader.top(number)
        except StoreUnavailableError as error:
            self._file.lose(error)
            return None
