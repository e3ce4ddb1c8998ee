"""What Prometheus scrapes: the requests of this process, and what every singleton tells of itself."""

import time
from collections.abc import Iterable

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from seedcore.api.actor_metrics import grows, metric_name, numbers_in
from seedcore.api.health import statuses_now
from seedcore.api.request_records import PROCESS
from seedcore.cluster.retries import lookup_retries
from seedcore.cluster.status import ActorStatus

router = APIRouter(tags=["health"])


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
            # Of two numbers that make one metric the last one counts, since Prometheus would refuse all for the other.
            told = {metric_name(number): (number, value) for number, value in _numbers(status).items()}
            for name, (number, value) in told.items():
                if name not in families:
                    family = CounterMetricFamily if grows(number) else GaugeMetricFamily
                    families[name] = family(name, f"{number} of an actor", labels=["actor"])
                families[name].add_metric([status.name], value)
        return families.values()


def _numbers(status: ActorStatus) -> dict[str, float]:
    found: dict[str, float] = {"up": float(status.running)}
    if status.busy is not None:
        found["busy_seconds"] = max(0.0, time.time() - status.busy.since)
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
