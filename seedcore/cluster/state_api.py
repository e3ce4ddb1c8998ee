"""What runs, what failed and what is said in the cluster, as Ray's State API tells it through the dashboard."""

import re
import time
from collections.abc import Callable
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass, field
from typing import Final, TypeVar

import ray
from ray.exceptions import RayError
from ray.util.state import get_log, list_actors, list_tasks
from ray.util.state.common import ActorState, TaskState
from ray.util.state.exception import RayStateApiException

from seedcore.cluster.busy import OURS, STATE_API_TIMEOUT_S
from seedcore.cluster.status import why_not_connected
from seedcore.errors import ClusterUnreachableError
from seedcore.event_loop import one_at_a_time
from seedcore.settings import Settings

T = TypeVar("T")

MAX_LISTED: Final = 1000  # that the newest ones are taken of
COLORS: Final = re.compile(r"\x1b\[[0-9;]*m")
INTERNAL: Final = "_ray_internal"  # namespaces and names of Ray's own actors
MARK: Final = re.compile(r":(?:actor_name|task_name|job_id):")  # lines of Ray's about who speaks
STREAMS: Final = ("out", "err")
CANCELLED: Final = "TASK_CANCELLED"
ACTOR_GONE: Final = ("ACTOR_DIED", "ACTOR_UNAVAILABLE")
DRIVER_ENDED: Final = "Job finishes"  # Ray's words for what was under way then
IN_PASSING_S: Final = 1.0  # a task or call that takes less is not work to be shown: the page itself calls actors


@dataclass(frozen=True)
class Failure:
    """A task, or a call of an actor, that failed.

    Args:
        task_id: Ray's id of it.
        name: of the task, or of the actor's class and method.
        error: in one line.
        traceback: all that Ray kept.
        ended_at: seconds since the epoch, or None if Ray does not say.
        pid: of its process on the node, or None if it never ran.
    """

    task_id: str
    name: str
    error: str
    traceback: str
    ended_at: float | None
    pid: int | None


@dataclass(frozen=True)
class NodeWork:
    """What a node does at present.

    Args:
        node_id: Ray's id of it.
        tasks: how many of each name have run for a second or more; calls of actors are among them.
        actors: that live there, by name, or by class if they have none.
    """

    node_id: str
    tasks: dict[str, int] = field(default_factory=dict)
    actors: list[str] = field(default_factory=list)


class StateApi:
    """Ray's State API, as a driver of the cluster asks it.

    Each method takes little more than `STATE_API_TIMEOUT_S` seconds, `log` three times as much.

    Args:
        settings: where the head is.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def failures(self, number: int) -> list[Failure]:
        """The tasks and calls of actors that failed last, the newest first.

        Args:
            number: of them at most.

        Raises:
            ClusterUnreachableError: this process is not connected, or Ray's dashboard does not list them.
        """
        # A cancelled one did not fail, nor one whose driver ended, such as that of the API in a restart. A question of
        # ours to an actor that was just restarted is nobody's error.
        failed = self._answer("failures", lambda: _tasks("FAILED"))
        tasks = [
            task
            for task in failed
            if task.error_type != CANCELLED
            and not (task.error_message or "").startswith(DRIVER_ENDED)
            and not ((task.name or "").endswith(OURS) and task.error_type in ACTOR_GONE)
        ]
        newest_first = sorted(tasks, key=lambda task: task.end_time_ms or 0, reverse=True)
        return [
            Failure(
                task_id=task.task_id,
                name=task.name,
                error=_last_line(task.error_message) or task.error_type or "failed",
                traceback=COLORS.sub("", task.error_message or ""),
                ended_at=task.end_time_ms / 1000 if task.end_time_ms else None,
                pid=task.worker_pid,
            )
            for task in newest_first[:number]
        ]

    def work(self) -> list[NodeWork]:
        """What each node does that does something.

        Raises:
            ClusterUnreachableError: this process is not connected, or Ray's dashboard does not list it.
        """
        tasks, actors = self._answer("work", lambda: (_tasks("RUNNING"), _actors(("state", "=", "ALIVE"))))
        nodes: dict[str, NodeWork] = {}
        for task in tasks:
            if task.node_id and time.time() - (task.start_time_ms or 0) / 1000 > IN_PASSING_S:
                running = nodes.setdefault(task.node_id, NodeWork(task.node_id)).tasks
                running[task.name] = running.get(task.name, 0) + 1
        for actor in sorted(actors, key=_called):
            if actor.node_id and not (actor.ray_namespace or "").startswith(INTERNAL):
                nodes.setdefault(actor.node_id, NodeWork(actor.node_id)).actors.append(_called(actor))
        return list(nodes.values())

    def log(self, name: str, lines: int) -> dict[str, list[str]] | None:
        """What an actor wrote last in its present life, by stream, `out` and `err`; None if no actor has that name.

        Args:
            name: of the actor in `ray_namespace`, or its class if it has none.
            lines: of each stream at most.

        Raises:
            ClusterUnreachableError: this process is not connected, or Ray's dashboard does not show the log.
        """

        def read() -> dict[str, list[str]] | None:
            actors = _actors(("ray_namespace", "=", self._settings.ray_namespace))
            called = [actor for actor in actors if _called(actor) == name]
            if not called:
                return None
            actor = max(called, key=lambda one: one.state != "DEAD")  # a dead one's log is there still
            return {stream: _read(actor.actor_id, stream, lines) for stream in STREAMS}

        return self._answer(f"log of {name}", read, timeout_s=3 * STATE_API_TIMEOUT_S)

    def _answer(self, question: str, ask: Callable[[], T], timeout_s: float = STATE_API_TIMEOUT_S) -> T:
        if not ray.is_initialized():
            raise ClusterUnreachableError(why_not_connected(self._settings))
        try:
            return one_at_a_time((self._settings.ray_namespace, question), ask).result(timeout_s)
        except (FutureTimeoutError, RayStateApiException, RayError) as error:
            raise ClusterUnreachableError(f"Ray's dashboard does not tell: {error or 'no answer'}") from error


def _tasks(state: str) -> list[TaskState]:
    return list_tasks(filters=[("state", "=", state)], detail=True, limit=MAX_LISTED, timeout=STATE_API_TIMEOUT_S)


def _actors(*filters: tuple[str, str, str]) -> list[ActorState]:
    return list_actors(filters=list(filters), detail=True, limit=MAX_LISTED, timeout=STATE_API_TIMEOUT_S)


def _read(actor_id: str, stream: str, lines: int) -> list[str]:
    chunks = get_log(
        actor_id=actor_id,
        suffix=stream,
        tail=lines,
        timeout=STATE_API_TIMEOUT_S,
        errors="replace",
        filter_ansi_code=True,
    )
    return [line for line in "".join(chunks).splitlines() if not MARK.match(line)]


def _called(actor: ActorState) -> str:
    return str(actor.name or actor.class_name)


def _last_line(message: str | None) -> str:
    lines = [line for line in COLORS.sub("", message or "").splitlines() if line.strip()]
    return lines[-1].strip() if lines else ""
