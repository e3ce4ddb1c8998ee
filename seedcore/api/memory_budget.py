"""How many bytes of request bodies are in memory at once, given out in the order in which they were asked for."""

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from contextvars import ContextVar
from typing import Final, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class Share:
    """A request's part of a budget. Wait for `room`; whatever comes of it, `release` once.

    Args:
        budget: what it is a part of.
        size: bytes.
    """

    def __init__(self, budget: "MemoryBudget", size: int) -> None:
        self.size: Final = size
        self.room: Final[asyncio.Future[None]] = asyncio.get_running_loop().create_future()
        self._budget = budget
        self._users = 1

    def hold(self) -> None:
        """Somebody else uses it as well, and will release it."""
        self._users += 1

    def release(self) -> None:
        """Give it back, or its place among those that wait, unless others use it."""
        self._users -= 1
        if self._users == 0:
            self._budget.end(self)


class MemoryBudget:
    """Bytes that requests share. The first that asks is the first that gets, so a large share waits no longer than it
    must.

    Args:
        size: bytes in all; none may ask for more.
    """

    def __init__(self, size: int) -> None:
        self._free = size
        self._waiting: deque[Share] = deque()

    @property
    def waiting(self) -> int:
        """How many wait for room."""
        return len(self._waiting)

    def ask(self, size: int) -> Share:
        """A share, whose `room` is done as soon as it is there; at once for nothing."""
        share = Share(self, size)
        if size == 0:
            share.room.set_result(None)
        else:
            self._waiting.append(share)
            self._admit()
        return share

    def end(self, share: Share) -> None:
        """Called by the share itself."""
        if share in self._waiting:
            self._waiting.remove(share)
        else:
            self._free += share.size
        self._admit()

    def _admit(self) -> None:
        while self._waiting and self._waiting[0].size <= self._free:
            share = self._waiting.popleft()
            self._free -= share.size
            if not share.room.done():  # cancelled, by whoever waited for it
                share.room.set_result(None)


current_share: Final[ContextVar[Share | None]] = ContextVar("current_share", default=None)


class RequestThreads(ThreadPoolExecutor):
    """Threads for an event loop. What a request lets them do holds its share until it is done, even if the request
    itself has been given up: a thread cannot be stopped, and has the body in its hands.
    """

    def submit(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """As `ThreadPoolExecutor`; call it on the event loop."""
        future = super().submit(function, *args, **kwargs)
        share = current_share.get()
        if share is not None:
            loop = asyncio.get_running_loop()
            share.hold()

            def release(_: Future[T]) -> None:
                with suppress(RuntimeError):  # the loop has ended meanwhile
                    loop.call_soon_threadsafe(share.release)

            future.add_done_callback(release)
        return future
