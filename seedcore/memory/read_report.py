"""Tells an actor what this process has read from its store's file."""

import atexit
import logging
import threading
from collections.abc import Iterable
from typing import Any, Final

import ray

from seedcore.cluster.actor_client import ActorClient

logger = logging.getLogger(__name__)

REPORT_EVERY_S: Final = 0.2
STOP_DEADLINE_S: Final = 1.0
MAX_ITEMS: Final = 10_000  # named in one report; of more the last ones count


class ReadReport:
    """What one process has read and the actor does not know yet. Threads may share it.

    A thread of its own tells the actor, which nobody waits for: what is not reported when this process dies is lost,
    as is what the actor has not written down when it dies.

    Args:
        client: of the actor, an `ItemActor`.
    """

    def __init__(self, client: ActorClient) -> None:
        self._client = client
        self._lock = threading.Lock()
        self._is_due = threading.Event()
        self._is_stopping = threading.Event()
        self._is_woken = False  # quicker to look at
        self._thread: threading.Thread | None = None
        self._items: dict[str, None] = {}  # the one that was read last is last
        self._hits = 0
        self._misses = 0
        self._under_way: Any = None
        self.names_items = False

    def add(self, found: Iterable[str], misses: int) -> None:
        """Note a read.

        Args:
            found: the ids of the items that were found.
            misses: how many were not.
        """
        item_ids = list(found)
        with self._lock:
            self._hits += len(item_ids)
            self._misses += misses
            if self.names_items:
                for item_id in item_ids:
                    self._name(item_id)
        if not self._is_woken:
            self._wake()

    def add_hit(self, item_id: str) -> None:
        """Note that an item was found."""
        with self._lock:
            self._hits += 1
            if self.names_items:
                self._name(item_id)
        if not self._is_woken:
            self._wake()

    def _name(self, item_id: str) -> None:
        self._items.pop(item_id, None)
        self._items[item_id] = None
        if len(self._items) > MAX_ITEMS:
            del self._items[next(iter(self._items))]

    def _wake(self) -> None:
        self._is_woken = True
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._send_for_ever, daemon=True, name="read-report")
                self._thread.start()
                atexit.register(self._stop, self._thread)  # before Ray's, which takes the connection away
        self._is_due.set()

    def _stop(self, thread: threading.Thread) -> None:
        self._is_stopping.set()
        self._is_due.set()
        thread.join(STOP_DEADLINE_S)

    def send(self) -> None:
        """Tell the actor before it gets anything else from this process, if it needs to know which items were read."""
        if self._items:
            self._send()

    def _send_for_ever(self) -> None:
        while True:
            self._is_due.wait()
            if self._is_stopping.wait(REPORT_EVERY_S):
                return
            try:
                if self._is_answered():
                    self._is_due.clear()
                    self._is_woken = False
                    self._send()
            except Exception:  # whatever Ray raises while it is shut down; the counts are kept for the next one
                self._under_way = None  # it may be of a connection that has ended
                logger.debug("the actor '%s' was not told what was read", self._client.name, exc_info=True)

    def _is_answered(self) -> bool:
        """Whether there is a connection, and no report is under way, so that none pile up before a silent actor."""
        if self._client.known_handle is None:
            return False
        if self._under_way is not None:
            answered, _ = ray.wait([self._under_way], timeout=0)
            if not answered:
                return False
        return True

    def _send(self) -> None:
        handle = self._client.known_handle
        if handle is None:
            return
        with self._lock:
            items, hits, misses = list(self._items), self._hits, self._misses
            self._items, self._hits, self._misses = {}, 0, 0
        self._under_way = handle.note_reads.remote(items, hits, misses)
