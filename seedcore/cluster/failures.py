"""What tasks and actors raised last, as Ray's head keeps it."""

import re
from dataclasses import dataclass
from typing import Final

import ray
from ray.util.state import list_tasks

from seedcore.errors import ClusterUnreachableError

TIMEOUT_S: Final = 3  # for the dashboard's list, in whole seconds
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


def latest_failures(number: int) -> list[Failure]:
    """The last failures, the newest first.

    Args:
        number: of them at most.

    Raises:
        ClusterUnreachableError: this process is not connected, or Ray's dashboard does not list them.
    """
    if not ray.is_initialized():
        raise ClusterUnreachableError("this process is not connected to Ray")
    try:
        tasks = list_tasks(filters=[("state", "=", "FAILED")], detail=True, limit=MAX_LISTED, timeout=TIMEOUT_S)
    except Exception as error:  # as many kinds as the ways to the dashboard have
        raise ClusterUnreachableError(f"Ray's dashboard does not list the tasks that failed: {error}") from error
    tasks.sort(key=lambda task: task.end_time_ms or 0, reverse=True)
    return [
        Failure(
            task_id=task.task_id,
            name=task.name,
            error=_last_line(task.error_message) or task.error_type or "failed",
            traceback=COLORS.sub("", task.error_message or ""),
            ended_at=task.end_time_ms / 1000 if task.end_time_ms else None,
            pid=task.worker_pid,
        )
        for task in tasks[:number]
    ]


def _last_line(message: str | None) -> str:
    lines = [line for line in COLORS.sub("", message or "").splitlines() if line.strip()]
    return lines[-1].strip() if lines else ""
