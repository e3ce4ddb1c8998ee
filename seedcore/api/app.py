"""The FastAPI application; server.py is what uvicorn loads."""

import asyncio
import logging
import re
import signal
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

from fastapi import APIRouter, FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi_offline import FastAPIOffline
from tenacity import AsyncRetrying, RetryCallState, wait_exponential

from seedcore import __version__
from seedcore.api import health, items, metrics, problems, status_page
from seedcore.api.middleware import BodyLimit, HostGuard, Idempotency
from seedcore.api.request_records import RequestRecords
from seedcore.api.routing import HeadAsGet
from seedcore.application import declared
from seedcore.cluster.actor_client import actor_client
from seedcore.cluster.bootstrap import bootstrap_actors
from seedcore.cluster.singletons import singletons
from seedcore.errors import InvalidAppError, SeedCoreError
from seedcore.event_loop import in_thread
from seedcore.logs import configure_logging
from seedcore.settings import load_settings

logger = logging.getLogger(__name__)

SWITCH_INTERVAL_S: Final = 0.0005  # Python's own is 5 ms
# In the order in which they are asked whether a path is theirs.
ROUTERS: Final = (items.organs, items.shared, items.hot, health.router, metrics.router, status_page.router)
MAX_BOOTSTRAP_BACKOFF_S: Final = 10  # between two tries while the cluster is not there


def create_app() -> FastAPI:
    """The application with all routes, guarded, answering errors as problems.

    Raises:
        SettingsError: a knob has a value that is not allowed.
        InvalidSingletonError: so has a row of the table.
        InvalidAppError: app/routes.py has no router, or one with a path that is taken.
        Exception: what app/routes.py itself raises when it is imported.
    """
    settings = load_settings()
    singletons(settings)  # a broken one is noticed here, where an API from before goes on serving
    configure_logging(settings)
    app = FastAPIOffline(
        title="SeedCore",
        summary="Shared state for Ray applications in named singleton actors",
        version=__version__,
        lifespan=_lifespan,
    )
    problems.install(app)
    # Not by include_router, which looks among the routes of each router twice: half the time of an answer.
    app.router.routes.extend(route for router in ROUTERS for route in router.routes)
    app.mount("/page", status_page.parts)
    _include_application(app)
    app.add_middleware(Idempotency)
    app.add_middleware(BodyLimit, max_bytes=settings.api_max_body_bytes)
    app.add_middleware(HostGuard, allowed_hosts=settings.allowed_hosts)
    app.add_middleware(RequestRecords)  # around the others, so that what they refuse counts as well
    app.add_middleware(HeadAsGet)
    return app


def _include_application(app: FastAPI) -> None:
    router = declared("routes", "router", APIRouter)
    if router is None:
        return
    ours = {_shape(path) for path in get_openapi(title="", version="", routes=app.routes)["paths"]}
    taken = [path for path in get_openapi(title="", version="", routes=router.routes)["paths"] if _shape(path) in ours]
    if taken:
        raise InvalidAppError(f"app/routes.py declares paths that the API has: {', '.join(taken)}. Choose others.")
    app.include_router(router)


def _shape(path: str) -> str:
    """Without the names of its parameters."""
    return re.sub(r"{[^}]*}", "{}", path)


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    # The event loop asks for the interpreter's lock after each system call, and waits so long for each thread at work.
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    # Not awaited: /healthz answers meanwhile, and /readyz says what is missing.
    bootstrap = asyncio.create_task(_bootstrap_until_done())
    yield
    bootstrap.cancel()
    with suppress(asyncio.CancelledError):
        await bootstrap


async def _bootstrap_until_done() -> None:
    def log_failure(state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        traceback_of = None if isinstance(error, SeedCoreError) else error
        logger.error("bootstrap failed, trying again: %s", error, exc_info=traceback_of)

    retrying = AsyncRetrying(
        wait=wait_exponential(max=MAX_BOOTSTRAP_BACKOFF_S),
        before_sleep=log_failure,
    )
    async for attempt in retrying:
        with attempt:
            try:
                handles = await asyncio.wrap_future(in_thread(bootstrap_actors))
            finally:
                _take_sigterm_back()
            # Known handles work while the head restarts.
            await asyncio.gather(*(actor_client(name, load_settings()).find_async() for name in handles))


def _take_sigterm_back() -> None:
    # Ray's handler prints where the process was, as if it crashed; in the main thread `ray.init` itself replaces it.
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.getsignal(signal.SIGTERM))
