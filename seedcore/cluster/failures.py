"""What tasks and actors raised last, as Ray's head keeps it."""

import re
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass
from typing import Final

import ray
from ray.exceptions import RayError
from ray.util.state import list_tasks
from ray.util.state.common import TaskState
from ray.util.state.exception import RayStateApiException

from seedcore.cluster.status import STATE_API_TIMEOUT_S, one_at_a_time, why_not_connected
from seedcore.errors import ClusterUnreachableError
from seedcore.settings import Settings

MAX_LISTED: Final = 1000  # that the newest ones are taken of
COLORS: Final = re.compile(r"\x1b\[[0-9;]*m")


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


def latest_failures(settings: Settings, number: int) -> list[Failure]:
    """The last failures, the newest first. Takes little more than `STATE_API_TIMEOUT_S` seconds.

    Args:
        settings: where the head is.
        number: of them at most.

    Raises:
        ClusterUnreachableError: this process is not connected, or Ray's dashboard does not list them.
    """
    if not ray.is_initialized():
        raise ClusterUnreachableError(why_not_connected(settings))
    try:
        tasks = one_at_a_time("failures", settings, _failed_tasks).result(STATE_API_TIMEOUT_S)
    except (FutureTimeoutError, RayStateApiException, RayError) as error:
        raise ClusterUnreachableError(f"Ray's dashboard does not list the tasks that failed: {error}") from error
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


def _failed_tasks() -> list[TaskState]:
    return list_tasks(filters=[("state", "=", "FAILED")], detail=True, limit=MAX_LISTED, timeout=STATE_API_TIMEOUT_S)


def _last_line(message: str | None) -> str:
    lines = [line for line in COLORS.sub("", message or "").splitlines() if line.strip()]
    return lines[-1].strip() if lines else ""
