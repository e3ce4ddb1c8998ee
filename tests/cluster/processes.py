"""Signals to the processes that singleton actors live in; they run on this machine."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psutil
import ray
from ray.actor import ActorHandle

from seedcore.cluster.actor_process import describe_process


def pid_of(actor: ActorHandle[Any]) -> int:
    """The process that the actor lives in; waits until it lives."""
    handle: Any = actor
    return int(ray.get(handle.__ray_call__.remote(describe_process), timeout=60).pid)


def kill_process(actor: ActorHandle[Any]) -> int:
    """SIGKILL to the actor's process; its id."""
    pid = pid_of(actor)
    os.kill(pid, signal.SIGKILL)
    return pid


@contextmanager
def paused(actor: ActorHandle[Any]) -> Iterator[None]:
    """SIGSTOP to the actor's process, and SIGCONT at the end."""
    pid = pid_of(actor)
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def kill_for_good(actor: ActorHandle[Any]) -> None:
    """`ray.kill`, which returns before the actor is dead, and wait until its process is gone."""
    process = psutil.Process(pid_of(actor))
    ray.kill(actor)
    process.wait(60)
