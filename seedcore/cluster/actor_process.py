"""What an actor's process tells of itself; runs inside the actor, whatever its class."""

import inspect
import time
from dataclasses import dataclass
from typing import Any, Final

import psutil
import ray
from ray._common.signature import extract_signature
from ray.actor import ActorHandle

from seedcore.code_version import CodeVersion, process_code

RAYS_OWN: Final = "_ray_trace_ctx"  # the parameter that Ray adds to each method
STAND_IN: Final = "_TemporaryActor__dummy_method"  # what the class has that Ray makes in place of one
ANYTHING: Final = extract_signature(lambda *arguments, **by_name: None)


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


def methods_of(actor_class: type) -> tuple[str, ...]:
    """Each method of an actor's class, where it is defined and what it takes.

    Ray keeps these of the class that an actor was created with: a restarted actor runs their present code, but has no
    new ones, and takes an inherited one that is overridden by now for the old one.
    """
    found = []
    for name, member in inspect.getmembers(actor_class, inspect.isfunction):
        function = inspect.unwrap(member)
        if function.__module__.startswith("ray."):  # those that Ray gives to every actor
            continue
        parameters = [str(one) for one in inspect.signature(function).parameters.values() if one.name != RAYS_OWN]
        found.append(f"{name}: {function.__module__}.{function.__qualname__}({', '.join(parameters)})")
    return tuple(found)


def with_methods(handle: ActorHandle[Any]) -> ActorHandle[Any]:
    """The handle of a living actor, whose methods take arguments also where Ray could not load its class.

    A class of which the code on the disk has a method no more, Ray cannot load in processes that begin later. It makes
    a stand-in there, whose methods take nothing; the actor itself has all of them.
    """
    signatures = handle._ray_method_signatures
    if STAND_IN in signatures:
        for name in signatures:
            signatures[name] = ANYTHING
    return handle


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


def describe_methods(actor: object) -> tuple[str, ...]:
    """`methods_of` the class that an actor was created with, for `handle.__ray_call__.remote(describe_methods)`."""
    return methods_of(type(actor))
