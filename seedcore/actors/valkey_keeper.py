"""What an actor of the memory does while the items are in Valkey, which every process asks itself: it tells of it."""

import logging
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from seedcore.actors.calls import Answer, pack_answers
from seedcore.errors import ActorFailedError, SeedCoreError
from seedcore.settings import Settings

if TYPE_CHECKING:
    from seedcore.store.valkey.memory import ValkeyMemory

logger = logging.getLogger(__name__)

DEADLINE_S: Final = 1.0  # of an answer of the engine; whoever asks for statistics waits for PING_TIMEOUT_S


class ValkeyKeeper:
    """Takes no calls: nobody waits for it to read or write.

    Args:
        name: of the actor's class.
        settings: where the engine is.
        totals: what it tells of it.
    """

    def __init__(self, name: str, settings: Settings, totals: "Callable[[ValkeyMemory], Mapping[str, float]]") -> None:
        from seedcore.store.valkey.memory import ValkeyMemory  # late, since most have none of it

        self._name = name
        self._memory = ValkeyMemory(settings.model_copy(update={"call_deadline_s": DEADLINE_S}))
        self._totals = totals
        self._started_at = time.time()
        logger.info("%s watches the items at %s", name, self._memory.client.address)

    def perform(self, packed: list[Any]) -> list[Any]:
        """Refuse: the caller looks for its items elsewhere."""
        where = self._memory.client.address
        error = ActorFailedError(
            f"{self._name} keeps no items, they are at {where}; this process has another MEMORY_URL. Restart it"
        )
        return pack_answers([Answer(error=error)] * len(packed))

    def stats(self) -> dict[str, float]:
        """The totals, and since when this process lives."""
        try:
            totals = {**self._totals(self._memory), "engine_up": 1}
        except SeedCoreError as error:  # the actor lives, and whoever watches is told of the engine by its own line
            logger.warning("%s", error)
            totals = {"engine_up": 0}
        return {**totals, "started_at": self._started_at}

    def close(self) -> None:
        """End the connections."""
        self._memory.close()
