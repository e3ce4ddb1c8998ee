"""The state of every singleton actor, for `/readyz`, `/actors`, monitor and verify."""

import logging
import time
from collections.abc import Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

import ray
from ray.exceptions import ActorDiedError, GetTimeoutError, RayError
from ray.util.state import list_actors, list_nodes
from ray.util.state.exception import RayStateApiException

from seedcore.cluster.actor_client import actor_client
from seedcore.cluster.actor_process import ActorProcess, describe_process, with_methods
from seedcore.cluster.busy import STATE_API_TIMEOUT_S, Busy, RunningCalls
from seedcore.cluster.connection import probe_head
from seedcore.cluster.explain import first_reason
from seedcore.cluster.singletons import Singleton, singletons
from seedcore.errors import ClusterUnreachableError, SeedCoreError
from seedcore.event_loop import one_at_a_time
from seedcore.settings import Settings

logger = logging.getLogger(__name__)

PING_TIMEOUT_S: Final = 2.0  # after which it is asked what keeps an actor from answering
UNEXPECTED_TERMINATION: Final = 2  # of Ray's NodeDeathInfo, in gcs.proto
MAX_NODES: Final = 10_000  # that Ray lists at most, those that ended included
BUSY_TIMEOUT_S: Final = 1.5  # for that
LATE_S: Final = 0.4  # by which the thread that asks may be late; images/healthcheck.sh waits for 4 s in all


@dataclass(frozen=True)
class ActorStatus:
    """One singleton, as it is now.

    Args:
        name: its name in Ray.
        class_name: its class.
        running: whether it answered, or will when it has done what keeps it busy.
        reason: why it is not running, what keeps it busy, or why its statistics are missing.
        process: where it lives, if it answered.
        restarts: how often Ray restarted it, or None when the dashboard did not say.
        stats: what its `stats()` says, if it has one.
    """

    name: str
    class_name: str
    running: bool
    reason: str = ""
    process: ActorProcess | None = None
    restarts: int | None = None
    stats: dict[str, Any] | None = None
    busy: Busy | None = None


@dataclass(frozen=True)
class _Silent:
    """One that did not answer, dead or busy.

    Args:
        row: which.
        handle: of it.
    """

    row: Singleton
    handle: Any


def singleton_statuses(
    settings: Settings, *, detailed: bool = False, timeout_s: float = PING_TIMEOUT_S
) -> list[ActorStatus]:
    """Ask every singleton, all at once. Takes little more than `timeout_s` seconds, whatever has died, and
    `BUSY_TIMEOUT_S` more if one is silent.

    The process must be connected to Ray; if it is not, the reason is why it could not be.

    Args:
        settings: where they live.
        detailed: ask for restarts and statistics as well.
        timeout_s: how long each may take to answer.
    """
    rows = singletons(settings)
    if not ray.is_initialized():
        reason = why_not_connected(settings)
        return [ActorStatus(row.name, row.class_name, running=False, reason=reason) for row in rows]
    deadline = time.monotonic() + timeout_s
    restarts = one_at_a_time((settings.ray_namespace, "restarts"), lambda: _restarts(settings)) if detailed else None
    asked = [
        one_at_a_time(
            (settings.ray_namespace, f"{row.name} {detailed}"), partial(_ask, row, settings, deadline, detailed)
        )
        for row in rows
    ]
    statuses = _busy_or_dead(
        [_answer(row, answer, deadline) for row, answer in zip(rows, asked, strict=True)], settings
    )
    return statuses if restarts is None else _with_restarts(statuses, restarts)


@dataclass(frozen=True)
class NodeStatus:
    """One Ray node, as the head has it.

    Args:
        node_id: Ray's id of it.
        address: of the node.
        host_name: of its machine or container.
        alive: whether the head thinks so.
        resources: what it offers, by Ray's names.
        reason: why it is missed; empty while it, or another node of its machine, lives, and after an orderly end. Of
            one machine nobody is missed, since a new container has a new address.
    """

    node_id: str
    address: str
    host_name: str
    alive: bool
    resources: dict[str, float]
    reason: str


def node_statuses(settings: Settings, *, timeout_s: float = PING_TIMEOUT_S) -> list[NodeStatus]:
    """The Ray nodes. Takes little more than `timeout_s` seconds.

    Raises:
        ClusterUnreachableError: this process is not connected to Ray, or the head does not answer.
    """
    if not ray.is_initialized():
        raise ClusterUnreachableError(why_not_connected(settings))
    listed: Future[list[dict[str, Any]]] = one_at_a_time((settings.ray_namespace, "nodes"), ray.nodes)
    try:
        nodes = listed.result(timeout_s)
    except (FutureTimeoutError, RayError) as error:
        raise ClusterUnreachableError("the Ray head did not answer") from error
    reasons = _missed(nodes, settings, timeout_s)
    return [
        NodeStatus(
            node["NodeID"],
            node["NodeManagerAddress"],
            node["NodeManagerHostname"],
            node["Alive"],
            node["Resources"],
            reasons.get(node["NodeID"], ""),
        )
        for node in nodes
    ]


def staleness(process: ActorProcess) -> str:
    """What is to be said of an actor that runs other code than the disk has."""
    changed = "" if process.code is None else f" ({', '.join(process.code.changed)} changed)"
    return f"runs older code than is on the disk{changed}"


def why_not_connected(settings: Settings) -> str:
    """What to say of this process, which is no driver."""
    try:
        probe_head(settings)
    except SeedCoreError as error:
        return str(error)
    return "this process is just connecting to Ray"


def _missed(nodes: list[dict[str, Any]], settings: Settings, timeout_s: float) -> dict[str, str]:
    """Why machines are missed, by the id of the node that each had last."""
    present = {node["NodeManagerAddress"] for node in nodes if node["Alive"]}
    missed = {
        node["NodeID"]: str(node["DeathReasonMessage"])
        for node in nodes
        if settings.cluster_address
        and node["DeathReason"] == UNEXPECTED_TERMINATION
        and node["NodeManagerAddress"] not in present
    }
    if not missed:
        return {}
    last: Future[set[str]] = one_at_a_time((settings.ray_namespace, "last nodes"), _last_of_each_machine)
    try:  # a machine may have come back since, and left
        return {node_id: reason for node_id, reason in missed.items() if node_id in last.result(timeout_s)}
    except (FutureTimeoutError, RayStateApiException, RayError) as error:
        logger.warning("the dashboard does not tell which nodes ended last: %s", error)
        return missed


def _last_of_each_machine() -> set[str]:
    """The id of the node of each machine that started last; Ray goes on listing those before it."""
    nodes = list_nodes(detail=True, limit=MAX_NODES, timeout=STATE_API_TIMEOUT_S)
    return {node.node_id for node in {node.node_ip: node for node in sorted(nodes, key=_started)}.values()}


def _started(node: Any) -> int:
    return int(node.start_time_ms or 0)


def _busy_or_dead(answers: list[ActorStatus | _Silent], settings: Settings) -> list[ActorStatus]:
    if not any(isinstance(answer, _Silent) for answer in answers):
        return [answer for answer in answers if isinstance(answer, ActorStatus)]
    deadline = time.monotonic() + BUSY_TIMEOUT_S
    silent = [answer for answer in answers if isinstance(answer, _Silent)]
    try:
        running = one_at_a_time((settings.ray_namespace, "running calls"), RunningCalls).result(BUSY_TIMEOUT_S)
    except (FutureTimeoutError, RayStateApiException, RayError) as error:
        unknown = f"Ray's dashboard does not tell whether it is busy: {error or 'no answer'}"
        explained = {one.row.name: _explained(one, None, unknown) for one in silent}
    else:  # all at once, since one that is stopped is waited for
        asked = [
            one_at_a_time((settings.ray_namespace, f"{one.row.name} busy"), partial(running.busy, one.row, one.handle))
            for one in silent
        ]
        explained = {
            one.row.name: _explained(one, *_busy(busy, deadline)) for one, busy in zip(silent, asked, strict=True)
        }
    return [explained[answer.row.name] if isinstance(answer, _Silent) else answer for answer in answers]


def _busy(asked: Future[Busy | None], deadline: float) -> tuple[Busy | None, str]:
    """What it is busy with, or why that is not known."""
    try:
        return asked.result(max(0.1, _left(deadline))), ""
    except (FutureTimeoutError, RayError) as error:
        return None, f"Ray does not tell whether it is busy: {error or 'no answer'}"


def _explained(silent: _Silent, busy: Busy | None, unknown: str) -> ActorStatus:
    row = silent.row
    if busy is not None:
        return ActorStatus(row.name, row.class_name, running=True, reason=str(busy), busy=busy)
    reason = f"did not answer; {unknown or 'it is not busy with a call, so it is restarting, stopped or cut off'}"
    return ActorStatus(row.name, row.class_name, running=False, reason=reason)


def _ask(row: Singleton, settings: Settings, deadline: float, detailed: bool) -> ActorStatus | _Silent:
    try:
        try:
            return _describe(row, settings, deadline, detailed)
        except ActorDiedError:  # of a handle that is known from before; there may be a successor
            return _describe(row, settings, deadline, detailed)
    except _NoSuchActorError:
        where = f"no actor '{row.name}' in namespace '{settings.ray_namespace}'"
        return ActorStatus(row.name, row.class_name, running=False, reason=f"{where}; run `make bootstrap`")
    except (RayError, SeedCoreError, TypeError) as error:  # TypeError: Ray knows another constructor than the code has
        return ActorStatus(row.name, row.class_name, running=False, reason=first_reason(error))


def _describe(row: Singleton, settings: Settings, deadline: float, detailed: bool) -> ActorStatus | _Silent:
    client = actor_client(row.name, settings)
    # A known handle works without the head, and so while the head restarts.
    handle = client.known_handle or _get_actor(row, settings)
    question = handle.__ray_call__.remote(describe_process)
    try:
        process = ray.get(question, timeout=_left(deadline))
    except GetTimeoutError:
        ray.cancel(question)  # else one of each poll would wait for an actor that is busy for hours
        return _Silent(row, handle)
    except ActorDiedError:
        client.forget(handle)
        raise
    status = ActorStatus(row.name, row.class_name, running=True, process=process)
    return _with_stats(status, handle, deadline) if detailed and process.has_stats else status


class _NoSuchActorError(Exception):
    pass


def _get_actor(row: Singleton, settings: Settings) -> Any:
    try:
        return with_methods(ray.get_actor(row.name, namespace=settings.ray_namespace))
    except ValueError as error:  # Ray's word for a name that is not there
        raise _NoSuchActorError(row.name) from error


def _with_stats(status: ActorStatus, handle: Any, deadline: float) -> ActorStatus:
    # A user's own method: whatever it does, the actor runs, since it has just answered.
    try:
        stats = ray.get(handle.stats.remote(), timeout=_left(deadline))
    except (RayError, TypeError) as error:
        return replace(status, reason=f"stats() failed: {first_reason(error)}")
    if not isinstance(stats, Mapping):
        return replace(status, reason=f"stats() must return a dict, not {type(stats).__name__}")
    return replace(status, stats={str(name): value for name, value in stats.items()})


def _left(deadline: float) -> float:
    return max(0.0, deadline - time.monotonic())


def _answer(row: Singleton, answer: Future[ActorStatus | _Silent], deadline: float) -> ActorStatus | _Silent:
    try:
        return answer.result(timeout=_left(deadline) + LATE_S)
    except FutureTimeoutError:
        return ActorStatus(row.name, row.class_name, running=False, reason="the Ray head did not answer")


def _restarts(settings: Settings) -> dict[str, int]:
    actors = list_actors(
        filters=[("ray_namespace", "=", settings.ray_namespace)], detail=True, timeout=STATE_API_TIMEOUT_S
    )
    return {actor.actor_id: actor.num_restarts for actor in actors}


def _with_restarts(statuses: list[ActorStatus], restarts: Future[dict[str, int]]) -> list[ActorStatus]:
    try:
        known = restarts.result(timeout=STATE_API_TIMEOUT_S)
    except (FutureTimeoutError, RayStateApiException, RayError) as error:
        logger.warning("the dashboard does not tell how often actors were restarted: %s", error)
        return statuses
    return [
        replace(status, restarts=known.get(status.process.actor_id)) if status.process else status
        for status in statuses
    ]
