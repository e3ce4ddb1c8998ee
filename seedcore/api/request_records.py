"""One record for each request: its numbers for Prometheus, and what of it is worth a line in the log."""

import logging
import time
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import quote

from prometheus_client import CollectorRegistry, Histogram
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from seedcore.api.routing import METHODS
from seedcore.settings import load_settings

logger = logging.getLogger(__name__)

SLOW_S: Final = 1.0  # from which on a request is worth a warning
ITEM_FIELDS: Final = {"organ_id": "organ", "item_id": "item"}  # by the names in the routes
PROBLEM: Final = "seedcore.problem"  # key of the ASGI scope

OTHER: Final = "other"
# Routes that are asked all the time by what watches.
WATCHERS: Final = frozenset({"/readyz", "/metrics", "/status", "/failures", "/work", "/actors/{name}/log"})
BUCKETS_S: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 20.0, 60.0)

PROCESS: Final = CollectorRegistry()
REQUEST_SECONDS: Final = Histogram(
    "seedcore_http_request_seconds",
    "Time to answer a request",
    ("method", "route", "status"),
    buckets=BUCKETS_S,
    registry=PROCESS,
)


def note_problem(request: Request, reason: str) -> None:
    """Keep why a request failed, for its record."""
    request.scope[PROBLEM] = reason


def log_request(scope: Scope, status: int, seconds: float, *, is_watcher: bool) -> None:
    """Log an answered request: quietly, unless it failed or was slow.

    Args:
        scope: of the request (ASGI), after its route was found.
        status: of the answer; 0 if the client went away before there was one.
        seconds: that it took.
        is_watcher: whether it only asks how the stack is, as health checks do again and again.
    """
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR and not is_watcher:
        level = logging.ERROR
    else:
        level = logging.WARNING if seconds >= SLOW_S and not is_watcher else logging.DEBUG
    if not logger.isEnabledFor(level):
        return
    reason = f": {scope[PROBLEM]}" if PROBLEM in scope else ""
    duration_s = round(seconds, 6)
    fields = {
        "method": scope["method"],
        "path": scope["path"],
        "status": status,
        "duration_s": duration_s,
        "namespace": load_settings().ray_namespace,
        **_item(scope.get("path_params", {})),
    }
    path = quote(scope["path"])  # an item id may have a line break in it
    logger.log(level, "%s %s %d in %.1f ms%s", scope["method"], path, status, duration_s * 1000, reason, extra=fields)


def _item(path_params: dict[str, Any]) -> dict[str, Any]:
    return {field: path_params[name] for name, field in ITEM_FIELDS.items() if name in path_params}


def requests_so_far() -> int:
    """How many this process has answered, without those of `WATCHERS`."""
    return sum(
        int(sample.value)
        for family in REQUEST_SECONDS.collect()
        for sample in family.samples
        if sample.name.endswith("_count") and sample.labels["route"] not in WATCHERS
    )


class RequestRecords:
    """Counts, times and logs every request.

    Args:
        app: what answers them.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection (ASGI)."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        status = 0  # of a client that went away before there was an answer

        async def note_status(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, note_status)
        except Exception:  # what answers it stands outside of this
            status = HTTPStatus.INTERNAL_SERVER_ERROR
            raise
        finally:
            seconds = time.perf_counter() - began
            method = scope["method"] if scope["method"] in METHODS else OTHER  # a client may send any word
            route = getattr(scope.get("route"), "path", OTHER)
            REQUEST_SECONDS.labels(method, route, status).observe(seconds)
            log_request(scope, status, seconds, is_watcher=route in WATCHERS)
