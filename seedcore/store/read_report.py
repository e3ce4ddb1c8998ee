"""Gathers what this process has read, hits and misses alike, and tells it where it is counted."""

import atexit
import logging
import os
import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from typing import Final, Generic, TypeVar
from uuid import uuid4

from seedcore.errors import SeedCoreError
from seedcore.event_loop import one_at_a_time
from seedcore.store.requests import RequestId

Store = TypeVar("Store")
logger = logging.getLogger(__name__)

REPORT_EVERY_S: Final = 0.2
STOP_DEADLINE_S: Final = 1.0
MAX_USED: Final = 10_000  # items that one report names as used; of more the last ones count


@dataclass
class Reads:
    """What was read of one store.

    Args:
        hits: how many items were found.
        misses: how many were not.
        used: those that were found, the last one last; only of a store that wants to know.
    """

    hits: int = 0
    misses: int = 0
    used: dict[str, None] = field(default_factory=dict)

    @property
    def last_used(self) -> list[str]:
        """The last `MAX_USED` of them."""
        return list(self.used)[-MAX_USED:]


class ReadReport(Generic[Store]):
    """What one process has read and nobody else knows yet. Threads may share it.

    A thread of its own tells it within `REPORT_EVERY_S`, which nobody waits for: what is not told when this process
    dies is lost. Misses are counted once, however often a report must be repeated.

    Args:
        tell: for each store, how to tell what was read of it. May raise SeedCoreError or OSError.
        wants_uses: the store that wants to know which of its items were used.
        record: how to count misses, by item id. May raise likewise; the same request comes again then.
    """

    def __init__(
        self,
        tell: Mapping[Store, Callable[[Reads], None]],
        wants_uses: Store,
        record: Callable[[dict[str, int], RequestId], None],
    ) -> None:
        self._tell, self._wants_uses, self._record = tell, wants_uses, record
        self._begin_anew()
        os.register_at_fork(after_in_child=self._begin_anew)  # whose thread and counts are the other process's

    def _begin_anew(self) -> None:
        self._changing = threading.Lock()
        self._sending = threading.Lock()
        self._reads = {store: Reads() for store in self._tell}
        self._missed: dict[str, int] = {}
        self._client_id = uuid4().bytes
        self._number = 0
        self._unanswered: tuple[dict[str, int], RequestId] | None = None
        self._is_due = threading.Event()
        self._is_stopping = threading.Event()
        self._is_woken = False  # quicker to look at
        self._thread: threading.Thread | None = None

    def add(self, store: Store, found: Iterable[str], misses: int) -> None:
        """Note a read.

        Args:
            store: that was read.
            found: the ids of the items that were found.
            misses: how many were not.
        """
        with self._changing:
            reads = self._reads[store]
            reads.misses += misses
            for item_id in found:
                reads.hits += 1
                if store is self._wants_uses:
                    reads.used.pop(item_id, None)
                    reads.used[item_id] = None
        if not self._is_woken:
            self._wake()

    def add_missed(self, item_ids: Iterable[str]) -> None:
        """Note items that were asked for and are nowhere."""
        with self._changing:
            for item_id in item_ids:
                self._missed[item_id] = self._missed.get(item_id, 0) + 1
        if not self._is_woken:
            self._wake()

    def take(self, store: Store) -> Reads | None:
        """What is to be told of the store, which is then no longer noted here; None if there is nothing."""
        with self._changing:
            reads, self._reads[store] = self._reads[store], Reads()
        return reads if reads.hits or reads.misses else None

    @property
    def has_missed(self) -> bool:
        """Whether there are misses that were not counted yet."""
        return bool(self._missed or self._unanswered)

    def send_missed(self) -> None:
        """Have the misses counted now.

        Raises:
            SeedCoreError, OSError: as `record`; they will be sent again.
        """
        with self._sending:
            if self._unanswered is None and self._missed:
                with self._changing:
                    missed, self._missed = self._missed, {}
                self._number += 1
                self._unanswered = missed, RequestId(self._client_id, self._number, self._number)
            if self._unanswered is not None:
                self._record(*self._unanswered)
                self._unanswered = None

    def sending_missed(self) -> Future[None]:
        """`send_missed` by a thread, which all share who ask for it meanwhile."""
        return one_at_a_time((self, "missed"), self.send_missed)

    def _wake(self) -> None:
        self._is_woken = True
        with self._changing:
            if self._thread is None:
                self._thread = threading.Thread(target=self._send_for_ever, daemon=True, name="read-report")
                self._thread.start()
                atexit.register(self.close)  # before Ray's, which takes the connection away
        self._is_due.set()

    def close(self) -> None:
        """Tell what is not told yet, for at most a second, and nothing after that."""
        self._is_stopping.set()
        self._is_due.set()
        if self._thread is not None:
            self._thread.join(STOP_DEADLINE_S)

    def _send_for_ever(self) -> None:
        while True:
            self._is_due.wait()
            is_last = self._is_stopping.wait(REPORT_EVERY_S)
            self._is_due.clear()
            self._is_woken = False
            tells: list[Callable[[], None]] = [partial(self._tell_of, store) for store in self._tell]
            for tell in (self.send_missed, *tells):
                try:
                    tell()
                except Exception as error:  # of an actor that is gone, or a connection that ended; nobody else tells
                    is_known = isinstance(error, SeedCoreError | OSError)
                    logger.log(
                        logging.DEBUG if is_known else logging.WARNING, "it was not told what was read: %r", error
                    )
                    self._is_due.set()
            if is_last:
                return

    def _tell_of(self, store: Store) -> None:
        if reads := self.take(store):
            self._tell[store](reads)
