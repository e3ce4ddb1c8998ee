"""What Prometheus scrapes: the requests of this process, and what every singleton tells of itself."""

import time
from collections.abc import Iterable
from http import HTTPStatus
from typing import Final

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Histogram, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from seedcore.api.access_log import log_request
from seedcore.api.actor_metrics import grows, metric_name, numbers_in
from seedcore.api.health import statuses_now
from seedcore.cluster.connection import lookup_retries
from seedcore.cluster.status import ActorStatus

router = APIRouter(tags=["health"])

METHODS: Final = frozenset({"GET", "HEAD", "PUT", "POST", "DELETE", "PATCH", "OPTIONS"})  # a client may send any word
OTHER: Final = "other"
WATCHERS: Final = frozenset({"/readyz", "/metrics", "/status"})  # routes that are asked all the time by what watches
BUCKETS_S: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 20.0, 60.0)

PROCESS: Final = CollectorRegistry()
REQUEST_SECONDS: Final = Histogram(
    "seedcore_http_request_seconds",
    "Time to answer a request",
    ("method", "route", "status"),
    buckets=BUCKETS_S,
    registry=PROCESS,
)


def requests_so_far() -> int:
    """How many this process has answered, without those of `WATCHERS`."""
    return sum(
        int(sample.value)
        for family in REQUEST_SECONDS.collect()
        for sample in family.samples
        if sample.name.endswith("_count") and sample.labels["route"] not in WATCHERS
    )


class RequestMetrics:
    """Counts and times every request by method, route and status, and hands it to the access log.

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
            method = scope["method"] if scope["method"] in METHODS else OTHER
            route = getattr(scope.get("route"), "path", OTHER)
            REQUEST_SECONDS.labels(method, route, status).observe(seconds)
            log_request(scope, status, seconds, is_watcher=route in WATCHERS)


class LookupMetrics(Collector):
    """What looking up actors and the head took."""

    def collect(self) -> Iterable[Metric]:
        """The counter."""
        yield CounterMetricFamily(
            "seedcore_lookup_retries", "Look-ups of an actor or the head that were tried once more", lookup_retries()
        )


PROCESS.register(LookupMetrics())


class ActorMetrics(Collector):
    """One counter or gauge for each number that a singleton tells of itself, its own `stats()` included.

    Args:
        statuses: of all singletons.
    """

    def __init__(self, statuses: Iterable[ActorStatus]) -> None:
        self._statuses = list(statuses)

    def collect(self) -> Iterable[Metric]:
        """The metrics, each with a sample for each actor that has it."""
        families: dict[str, CounterMetricFamily | GaugeMetricFamily] = {}
        for status in self._statuses:
            for number, value in _numbers(status).items():
                name = metric_name(number)
                if name not in families:
                    family = CounterMetricFamily if grows(number) else GaugeMetricFamily
                    families[name] = family(name, f"{number} of an actor", labels=["actor"])
                families[name].add_metric([status.name], value)
        return families.values()


def _numbers(status: ActorStatus) -> dict[str, float]:
    found: dict[str, float] = {"up": float(status.running)}
    if status.process is not None:
        found |= {"uptime_seconds": status.process.uptime_s, "stale_code": float(status.process.is_stale)}
    if status.restarts is not None:
        found["restarts"] = float(status.restarts)
    return numbers_in(status.stats or {}) | found


@router.get("/metrics", response_class=Response)
async def metrics() -> Response:
    """Requests, look-ups and actors, as Prometheus scrapes them."""
    actors = CollectorRegistry()
    actors.register(ActorMetrics(await statuses_now(detailed=True)))
    return Response(generate_latest(PROCESS) + generate_latest(actors), media_type=CONTENT_TYPE_LATEST)
