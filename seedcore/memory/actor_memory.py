"""The memory in SQLite files: this process reads what it sees, and the actors do all else."""

import asyncio
from functools import partial

from ray.exceptions import RayError

from seedcore.actors.calls import Call
from seedcore.cluster.actor_client import ActorClient, actor_client
from seedcore.errors import ActorUnavailableError
from seedcore.memory.items import Items, note_reads
from seedcore.memory.misses import Misses
from seedcore.settings import Settings
from seedcore.store.engine import EngineState
from seedcore.store.read_report import ReadReport, Reads
from seedcore.store.requests import RequestId


class ActorMemory:
    """Each actor is looked up once, and each file opened once.

    Args:
        settings: where the actors are.
    """

    name = "SQLite on the state volume"

    def __init__(self, settings: Settings) -> None:
        own, shared, misses = self._clients = tuple(
            actor_client(name, settings)
            for name in (settings.mw_actor_name, settings.shared_cache_actor_name, settings.miss_tracker_actor_name)
        )
        tell = {client: partial(_tell, client) for client in (own, shared)}
        self._report = ReadReport(tell, shared, partial(_record, misses))
        self.misses = Misses(misses, settings, self._report)
        bounds = {"VALUE_MAX_BYTES": settings.value_max_bytes}
        self.own = Items(own, settings, self._report, bounds)
        bounds_of_shared = {**bounds, "SHARED_CACHE_MAX_BYTES": settings.shared_cache_max_bytes}
        self.shared = Items(shared, settings, self._report, bounds_of_shared, evicts=True)

    @property
    def is_readable(self) -> bool:
        """Whether the files are seen, so that items can be read while the actors are dead."""
        return self.own.sees_file and self.shared.sees_file

    def connect(self) -> None:
        """Find the three actors.

        Raises:
            ActorNotFoundError, ActorUnavailableError: as `seedcore.get_singleton`.
        """
        for client in self._clients:
            client.find()

    async def connect_async(self) -> None:
        """`connect` without blocking the event loop."""
        await asyncio.gather(*(client.find_async() for client in self._clients))

    def state(self) -> EngineState:
        """The stores are looked at by who looks at the disk."""
        return EngineState()

    def close(self) -> None:
        """Tell the actors what they do not know yet, and end the connections to them."""
        self._report.close()
        for client in self._clients:
            client.close()


def _tell(client: ActorClient, reads: Reads) -> None:
    _perform(client, note_reads(reads))


def _record(client: ActorClient, missed: dict[str, int], request: RequestId) -> None:
    _perform(client, [Call("record", (missed,), request)])


def _perform(client: ActorClient, calls: list[Call]) -> None:
    try:
        client.perform(calls)
    except RayError as error:
        raise ActorUnavailableError(f"actor '{client.name}' was not told what was read: {error}") from error
