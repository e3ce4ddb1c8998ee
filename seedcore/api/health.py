"""Is it alive, is it ready, and how are the actors."""

import asyncio
from dataclasses import asdict
from http import HTTPStatus

from fastapi import APIRouter, Response

from seedcore.api.json_values import to_json_value
from seedcore.api.models import ActorOut, ActorReadiness, Actors, Alive, BusyOut, Code, Readiness
from seedcore.cluster.status import ActorStatus, singleton_statuses
from seedcore.code_version import CodeVersion, process_code
from seedcore.errors import InvalidValueError
from seedcore.event_loop import in_thread
from seedcore.settings import load_settings

router = APIRouter(tags=["health"])


@router.get("/healthz")
async def healthz() -> Alive:
    """Whether the API process answers; says nothing about the actors."""
    return Alive()


@router.get("/readyz", responses={HTTPStatus.SERVICE_UNAVAILABLE: {"model": Readiness}})
async def readyz(response: Response) -> Readiness:
    """Whether all singleton actors run: 200, or 503 with the reason for each that does not. A busy one runs."""
    statuses = await statuses_now(detailed=False)
    ready = all(status.running for status in statuses)
    if not ready:
        response.status_code = HTTPStatus.SERVICE_UNAVAILABLE
    actors = {status.name: ActorReadiness(ready=status.running, reason=status.reason) for status in statuses}
    return Readiness(ready=ready, actors=actors)


@router.get("/actors")
async def actors() -> Actors:
    """Each singleton: where it lives, since when, how often it was restarted, and its statistics."""
    statuses = await statuses_now(detailed=True)
    code = await asyncio.to_thread(process_code.version)
    return Actors(
        namespace=load_settings().ray_namespace,
        code=_code_out(code),
        actors=[_actor_out(status) for status in statuses],
    )


async def statuses_now(*, detailed: bool) -> list[ActorStatus]:
    """`singleton_statuses` without blocking the event loop."""
    return await asyncio.wrap_future(in_thread(lambda: singleton_statuses(load_settings(), detailed=detailed)))


def _actor_out(status: ActorStatus) -> ActorOut:
    process = status.process
    reason = status.reason
    try:
        stats = to_json_value(status.stats)
    except InvalidValueError as error:  # a user's own method
        stats, reason = None, f"stats() cannot be shown: {error}"
    return ActorOut(
        name=status.name,
        class_name=status.class_name,
        running=status.running,
        reason=reason,
        node_id=process.node_id if process else None,
        node_ip=process.node_ip if process else None,
        pid=process.pid if process else None,
        uptime_s=process.uptime_s if process else None,
        restarts=status.restarts,
        code=_code_out(process.code) if process and process.code else None,
        stats=stats,
        busy=BusyOut(**asdict(status.busy)) if status.busy else None,
    )


def _code_out(code: CodeVersion) -> Code:
    return Code(running=code.running, on_disk=code.on_disk, stale=code.is_stale, changed=code.changed)
