"""How long it takes to bootstrap few and many singletons: new ones, and ones that live."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final
from uuid import uuid4

import ray

from benchmarks.measure import Timing
from benchmarks.peers import BARE_RAY, DictActor, start_dict_actors
from benchmarks.works import SEEDCORE
from seedcore.cluster.bootstrap import bootstrap_actors
from seedcore.cluster.singletons import STATE_SHARE, Singleton
from seedcore.settings import Settings

FEW, MANY = 3, 100
DEADLINE_S: Final = 600.0  # a hundred processes take their time on two cores


def new_work(number: int) -> str:
    """The name of the work that creates so many."""
    return f"bootstrap of {number} singletons"


def living_work(number: int) -> str:
    """The name of the work that finds so many alive."""
    return f"bootstrap of {number} singletons that live"


def bootstraps(settings: Settings, number: int, rounds: int) -> dict[str, dict[str, Timing]]:
    """Bootstrap so many singletons, then once more, and have bare Ray create as many actors, in turns.

    Args:
        settings: of the stack.
        number: of singletons.
        rounds: how often.
    """
    settings = settings.model_copy(update={"bootstrap_deadline_s": DEADLINE_S})
    resources = {settings.state_resource: STATE_SHARE}
    new, living, bare = Timing(1), Timing(1), Timing(1)
    for _ in range(rounds):
        rows = [Singleton(f"bench-{uuid4().hex}", DictActor) for _ in range(number)]
        with _killed_afterwards() as actors:
            with new.measured():
                actors += bootstrap_actors(settings, rows).values()
            with living.measured():
                bootstrap_actors(settings, rows)
        with _killed_afterwards() as actors, bare.measured():
            actors += start_dict_actors(number, resources)
    return {new_work(number): {SEEDCORE: new, BARE_RAY: bare}, living_work(number): {SEEDCORE: living}}


@contextmanager
def _killed_afterwards() -> Iterator[list[Any]]:
    actors: list[Any] = []
    try:
        yield actors
    finally:
        for actor in actors:
            ray.kill(actor)
