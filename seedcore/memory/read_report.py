"""Tells the actors what this process has read without them, hits and misses alike."""

import atexit
import logging
import threading
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final
from uuid import uuid4

from ray.exceptions import RayError

from seedcore.actors.calls import Call
from seedcore.cluster.actor_client import ActorClient
from seedcore.errors import SeedCoreError
from seedcore.store.requests import RequestId

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
        used: those that were found, the last one last.
    """

    hits: int = 0
    misses: int = 0
    used: dict[str, None] = field(default_factory=dict)


class ReadReport:
    """What one process has read and the actors do not know yet. Threads may share it.

    A thread of its own tells them within `REPORT_EVERY_S`, which nobody waits for: what is not reported when this
    process dies is lost. Misses are counted once, however often a report must be repeated.

    Args:
        own: the client of the actor with the organs' items.
        shared: of the one with everybody's, which wants to know which of them were used.
        misses: of the one that counts misses.
    """

    def __init__(self, own: ActorClient, shared: ActorClient, misses: ActorClient) -> None:
        self._own, self._shared, self._misses = own, shared, misses
        self._changing = threading.Lock()
        self._sending = threading.Lock()
        self._reads = {own: Reads(), shared: Reads()}
        self._missed: Counter[str] = Counter()
        self._client_id = uuid4().bytes
        self._number = 0
        self._unanswered: Call | None = None
        self._is_due = threading.Event()
        self._is_stopping = threading.Event()
        self._is_woken = False  # quicker to look at
        self._thread: threading.Thread | None = None

    def add(self, client: ActorClient, found: Iterable[str], misses: int) -> None:
        """Note a read.

        Args:
            client: of the actor whose items were read.
            found: the ids of the items that were found.
            misses: how many were not.
        """
        with self._changing:
            reads = self._reads[client]
            reads.misses += misses
            for item_id in found:
                reads.hits += 1
                if client is self._shared:
                    reads.used.pop(item_id, None)
                    reads.used[item_id] = None
        if not self._is_woken:
            self._wake()

    def add_missed(self, item_ids: Iterable[str]) -> None:
        """Note items that were asked for and are nowhere."""
        with self._changing:
            self._missed.update(item_ids)
        if not self._is_woken:
            self._wake()

    def take(self, client: ActorClient) -> list[Call]:
        """What the actor is to be told ahead of the next call, which is then no longer noted here."""
        with self._changing:
            reads, self._reads[client] = self._reads[client], Reads()
        if not reads.hits and not reads.misses:
            return []
        return [Call("note_reads", (list(reads.used)[-MAX_USED:], reads.hits, reads.misses))]

    @property
    def has_missed(self) -> bool:
        """Whether there are misses that were not counted yet."""
        return bool(self._missed or self._unanswered)

    def send_missed(self) -> None:
        """Have the misses counted now.

        Raises:
            ActorUnavailableError, SeedCoreError: as `ActorClient.perform`; they will be sent again.
        """
        with self._sending:
            if self._unanswered is None and self._missed:
                with self._changing:
                    missed, self._missed = self._missed, Counter()
                self._number += 1
                request = RequestId(self._client_id, self._number, self._number)
                self._unanswered = Call("record", (dict(missed),), request)
            if self._unanswered is not None:
                self._misses.perform([self._unanswered])
                self._unanswered = None

    def _wake(self) -> None:
        self._is_woken = True
        with self._changing:
            if self._thread is None:
                self._thread = threading.Thread(target=self._send_for_ever, daemon=True, name="read-report")
                self._thread.start()
                atexit.register(self.close)  # before Ray's, which takes the connection away
        self._is_due.set()

    def close(self) -> None:
        """Tell the actors what they do not know yet, for at most a second, and nothing after that."""
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
            try:
                for client in (self._own, self._shared):
                    if calls := self.take(client):
                        client.perform(calls)
                self.send_missed()
            except (SeedCoreError, RayError, OSError) as error:  # of an actor that is gone, or a connection that ended
                logger.debug("an actor was not told what was read: %s", error)
                self._is_due.set()
            if is_last:
                return
