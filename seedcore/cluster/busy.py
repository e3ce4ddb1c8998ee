"""Whether an actor that does not answer is busy: Ray tells which calls run, though the actor's process cannot."""

import inspect
import time
from collections import defaultdict
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import grpc
import ray
from ray._private.grpc_utils import init_grpc_channel
from ray.core.generated import core_worker_pb2, core_worker_pb2_grpc
from ray.exceptions import RayError
from ray.util.state import list_tasks
from ray.util.state.common import TaskState
from ray.util.state.exception import RayStateApiException

from seedcore.cluster.singletons import Singleton
from seedcore.event_loop import in_thread

STATE_API_TIMEOUT_S: Final = 3  # for what the dashboard lists, in whole seconds
MAX_CALLS: Final = 1000  # that Ray lists
PROCESS_TIMEOUT_S: Final = 0.5  # for what an actor's process says itself

_messages: Any = core_worker_pb2
_services: Any = core_worker_pb2_grpc
OURS: Final = "__ray_call__"  # by which everybody asks how an actor is


@dataclass(frozen=True)
class Busy:
    """What keeps an actor from answering.

    Args:
        call: of the actor, such as Visits.add, its constructor, or how many short ones.
        since: seconds since the epoch.
    """

    call: str
    since: float

    @property
    def is_constructor(self) -> bool:
        """Whether the actor has yet to be born, or born anew."""
        return self.call.endswith(".__init__")

    def __str__(self) -> str:
        """As everything says it that shows actors."""
        return f"busy since {datetime.fromtimestamp(self.since).astimezone():%H:%M:%S %Z} with {self.call}"


class RunningCalls:
    """The calls of actors that run now, by Ray's id of the actor. It asks Ray's dashboard.

    Raises:
        RayStateApiException: the dashboard does not tell.
    """

    def __init__(self) -> None:
        self._calls: dict[str, list[Busy]] = defaultdict(list)
        for task in list_tasks(
            filters=[("state", "=", "RUNNING")], detail=True, limit=MAX_CALLS, timeout=STATE_API_TIMEOUT_S
        ):
            if task.actor_id and not task.name.endswith(OURS):
                self._calls[task.actor_id].append(_call(task))

    def busy(self, row: Singleton, handle: Any) -> Busy | None:
        """What the actor is busy with; None if it could answer, for all that is known.

        Takes up to `PROCESS_TIMEOUT_S`.
        """
        calls = self._calls[handle._actor_id.hex()]
        if len(calls) < _calls_at_once(row):
            return _queue(handle)
        return max(calls, key=lambda call: call.since)  # with the last one it was taken up


def busy_with(row: Singleton, handle: Any) -> Busy | None:
    """What a silent actor is busy with; None if with nothing, or if the dashboard does not tell."""
    try:
        return in_thread(lambda: RunningCalls().busy(row, handle)).result(STATE_API_TIMEOUT_S)
    except (FutureTimeoutError, RayStateApiException, RayError):
        return None


def _queue(handle: Any) -> Busy | None:
    # Of short calls the dashboard hears once a second, from both sides, and often of none that has not ended since.
    # The actor's process itself says how many it has, in a thread of Ray's that no call can hold.
    actor = ray._private.state.actors(handle._actor_id.hex())
    if actor.get("State") != "ALIVE":  # else it is just being born, and that is no queue
        return None
    address = actor["Address"]
    with init_grpc_channel(f"{address['IPAddress']}:{address['Port']}") as channel:
        try:
            reply = _services.CoreWorkerServiceStub(channel).GetCoreWorkerStats(
                _messages.GetCoreWorkerStatsRequest(), timeout=PROCESS_TIMEOUT_S
            )
        except grpc.RpcError:  # dead, stopped or cut off
            return None
    stats = reply.core_worker_stats
    if not stats.num_running_tasks:
        return None
    return Busy(f"a queue of {stats.num_running_tasks + stats.task_queue_length} calls", time.time())


def _call(task: TaskState) -> Busy:
    # Ray writes the actor's name before that of its constructor.
    return Busy((task.name or "a call").rpartition(":")[2], (task.start_time_ms or 0) / 1000)


def _calls_at_once(row: Singleton) -> int:
    """How many calls it takes until the actor cannot answer. One stops a whole event loop."""
    if inspect.getmembers(row.actor_class, inspect.iscoroutinefunction):
        return 1
    return int(row.options.get("max_concurrency", 1))
