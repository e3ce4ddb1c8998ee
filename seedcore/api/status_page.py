"""The page for people at the API's root, and what it asks for again and again."""

import asyncio
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Final, TypeVar

from fastapi import APIRouter
from ray.exceptions import RayError
from starlette.responses import FileResponse
from starlette.staticfiles import StaticFiles

from seedcore.api.health import actors
from seedcore.api.items import most_missed
from seedcore.api.models import (
    ActorLog,
    Actors,
    EngineOut,
    FailureOut,
    Failures,
    HotItemOut,
    NodeOut,
    NodeWorkOut,
    Status,
    Work,
)
from seedcore.api.request_records import requests_so_far
from seedcore.api.routing import RawPathRoute
from seedcore.cluster.state_api import StateApi
from seedcore.cluster.status import node_statuses
from seedcore.errors import ClusterUnreachableError, SeedCoreError
from seedcore.event_loop import in_thread, one_at_a_time
from seedcore.memory.engines import memory_of_process
from seedcore.settings import Settings, load_settings

T = TypeVar("T")

router = APIRouter(tags=["health"], route_class=RawPathRoute)

FOLDER: Final = Path(__file__).parent / "page"
HEADERS: Final = {
    # Nothing from elsewhere and nothing inline: whatever is in an item, it does nothing on this page.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-cache",
}
HOT_ITEMS: Final = 10
FAILURES: Final = 20
LOG_LINES: Final = 200  # of each stream
TIMEOUT_S: Final = 2.0  # for the engine, and for the most missed items; the page is to show the rest

parts: Final = StaticFiles(directory=FOLDER)  # the page's script and style


@router.get("/", include_in_schema=False)
async def page() -> FileResponse:
    """The page itself."""
    return FileResponse(FOLDER / "index.html", headers=HEADERS)


@router.get("/status")
async def status() -> Status:
    """All that the page shows: the actors, the Ray nodes, the engine, the most missed items, the requests so far."""
    settings = load_settings()
    found, (nodes, reason), engine = await asyncio.gather(actors(), _nodes(settings), _engine(settings))
    return Status(
        **found.model_dump(),
        ray_address=settings.ray_address,
        dashboard_port=settings.dashboard_port,
        nodes=nodes,
        nodes_reason=reason,
        engine=engine,
        hot_items=await _hot_items(settings, found),
        requests=requests_so_far(),
    )


@router.get("/failures")
async def failures() -> Failures:
    """The tasks, and calls of actors, that failed last, with their tracebacks."""
    found, reason = await _asked(lambda: StateApi(load_settings()).failures(FAILURES))
    return Failures(failures=[FailureOut(**asdict(one)) for one in found or ()], reason=reason)


@router.get("/work")
async def work() -> Work:
    """What each node does: the tasks that run, the calls of actors, and the actors that live there."""
    nodes, reason = await _asked(StateApi(load_settings()).work)
    return Work(nodes=[NodeWorkOut(**asdict(node)) for node in nodes or ()], reason=reason)


@router.get("/actors/{name}/log")
async def log(name: str) -> ActorLog:
    """The last lines that an actor printed and logged."""
    found, reason = await _asked(lambda: StateApi(load_settings()).log(name, LOG_LINES))
    if found is None:
        return ActorLog(out=[], err=[], reason=reason or f"no actor has the name '{name}'")
    return ActorLog(**found, reason="")


async def _nodes(settings: Settings) -> tuple[list[NodeOut], str]:
    """The nodes, or why they are not known."""
    nodes, reason = await _asked(lambda: node_statuses(settings))
    return [NodeOut(**asdict(node)) for node in nodes or ()], reason


async def _engine(settings: Settings) -> EngineOut:
    """What keeps the memory, and how it is."""
    memory = memory_of_process(settings)
    asked = one_at_a_time(("engine", settings.ray_namespace), memory.state)
    try:
        state = await asyncio.wait_for(asyncio.wrap_future(asked), TIMEOUT_S)
    except (SeedCoreError, TimeoutError) as error:
        reason = str(error) or f"{memory.name} did not answer within {TIMEOUT_S:g} s"
        return EngineOut(name=memory.name, facts=[], problems=[], reason=reason)
    return EngineOut(name=memory.name, facts=list(state.facts), problems=list(state.problems), reason="")


async def _asked(ask: Callable[[], T]) -> tuple[T | None, str]:
    """What the cluster answers, or why it does not; without blocking the event loop."""
    try:
        return await asyncio.wrap_future(in_thread(ask)), ""
    except ClusterUnreachableError as error:
        return None, str(error)


async def _hot_items(settings: Settings, found: Actors) -> list[HotItemOut] | None:
    """The most missed items; None while their actor does not answer."""
    if not any(actor.running for actor in found.actors if actor.name == settings.miss_tracker_actor_name):
        return None  # to look for it may take long
    asked = one_at_a_time(("hot items", settings.ray_namespace), lambda: most_missed(HOT_ITEMS))
    try:
        return await asyncio.wait_for(asyncio.wrap_future(asked), TIMEOUT_S)
    except (SeedCoreError, RayError, TimeoutError):
        return None
