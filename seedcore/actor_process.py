"""What an actor's process tells of itself; runs inside the actor, whatever its class."""

import time
from dataclasses import dataclass

import psutil
import ray

from seedcore.code_version import CodeVersion, process_code


@dataclass(frozen=True)
class ActorProcess:
    """Where an actor lives.

    Args:
        actor_id: Ray's id of the actor, the same after each restart.
        node_id: Ray's id of the node.
        node_ip: the node's address.
        pid: process id inside the node's container.
        uptime_s: seconds since the process was started.
        has_stats: whether the actor has a method `stats()`.
        code: which source it runs; None of an actor from before there was this.
    """

    actor_id: str
    node_id: str
    node_ip: str
    pid: int
    uptime_s: float
    has_stats: bool
    code: CodeVersion | None = None

    @property
    def is_stale(self) -> bool:
        """Whether a new process would run other code."""
        return self.code is None or self.code.is_stale


def describe_process(actor: object) -> ActorProcess:
    """Describe the process that this is called in, for `handle.__ray_call__.remote(describe_process)`."""
    context = ray.get_runtime_context()
    process = psutil.Process()
    return ActorProcess(
        actor_id=context.get_actor_id() or "",
        node_id=context.get_node_id(),
        node_ip=str(ray.util.get_node_ip_address()),  # type: ignore[no-untyped-call]
        pid=process.pid,
        uptime_s=time.time() - process.create_time(),
        has_stats=callable(getattr(actor, "stats", None)),
        code=process_code.version(),
    )
