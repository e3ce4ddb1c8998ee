"""The numbers that an actor tells of itself, as metrics: their names, and their way to Ray's own metrics."""

import logging
import re
import threading
import time
from collections.abc import Mapping
from typing import Any, Final

import ray
from ray.exceptions import RayError
from ray.util.metrics import Gauge

logger = logging.getLogger(__name__)

PREFIX: Final = "seedcore_actor_"
REPORT_EVERY_S: Final = 60.0  # as often as Ray sends them on, see images/entrypoint.sh
# Numbers that only grow while a process lives. So is every one whose name ends as Prometheus's counters do.
GROWING: Final = frozenset(
    {
        "hits", "misses", "evictions", "expirations", "writes", "refused_writes", "transactions", "restarts",
        "salvaged", "lost",
    }
)  # fmt: skip
GROWING_SUFFIX: Final = "_total"


def metric_name(number: str) -> str:
    """The metric of a number of an actor's `stats()`."""
    return PREFIX + re.sub(r"[^a-zA-Z0-9_]", "_", number)


def grows(number: str) -> bool:
    """Whether it is a counter: a number that never gets less while the actor's process lives."""
    return number in GROWING or number.endswith(GROWING_SUFFIX)


def numbers_in(stats: Mapping[str, Any]) -> dict[str, float]:
    """What of an actor's `stats()` can be a metric."""
    return {name: float(value) for name, value in stats.items() if isinstance(value, int | float)}


class RayReporter:
    """Reports the numbers of this process's actor to Ray, again and again, on a thread of its own.

    All are gauges there: Ray forgets the gauges of a process that has ended, and keeps its counters for ever.
    """

    def __init__(self) -> None:
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None
        self._gauges: dict[str, Gauge] = {}

    def start(self) -> None:
        """Start the thread, if it does not run yet."""
        with self._starting:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, daemon=True, name="ray-metrics")
                self._thread.start()

    def _run(self) -> None:
        context = ray.get_runtime_context()
        name, actor = context.get_actor_name() or "", context.current_actor
        while True:
            try:
                # As a call like any other, since a user's own actor may expect one at a time, or be a coroutine's.
                self._report(name, ray.get(actor.stats.remote()))
            except (RayError, TypeError, AttributeError) as error:  # whatever a user's own method does or returns
                logger.debug("%s has no statistics for Ray's metrics: %s", name, error)
            time.sleep(REPORT_EVERY_S)

    def _report(self, name: str, stats: Mapping[str, Any]) -> None:
        for number, value in numbers_in(stats).items():
            metric = metric_name(number)
            if metric not in self._gauges:
                self._gauges[metric] = Gauge(metric, f"{number} of an actor", tag_keys=("actor",))
            self._gauges[metric].set(value, {"actor": name})


ray_reporter: Final = RayReporter()
