"""Does the works of one client process, as a driver of the stack: `python -m benchmarks.in_process ARGUMENTS`."""

import argparse
import json
import logging
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Final

import ray
from rich.progress import Progress

from benchmarks.bootstraps import FEW, MANY, bootstraps, living_work, new_work
from benchmarks.many_clients import CLIENTS, HTTP_GET, HTTP_PUT, clients_at_once, http, requests
from benchmarks.measure import Timing, in_turns
from benchmarks.peers import SerialDictActor, start_dict_actors
from benchmarks.profiles import listening_at, looked_at
from benchmarks.works import (
    GET,
    GET_AT_ONCE,
    GET_MANY,
    MISS,
    SEEDCORE,
    SET,
    SET_IN_COROUTINE,
    SET_MANY,
    WORKS,
    RedisPorts,
    Systems,
)
from seedcore.cluster.bootstrap import get_mw_store
from seedcore.cluster.connection import connect
from seedcore.cluster.singletons import STATE_SHARE
from seedcore.settings import load_settings

SECONDS: Final = 5.0  # for each system in each work
QUICK_SECONDS: Final = 0.6
ROUNDS: Final = 5
BOOTSTRAPS: Final = ((FEW, 3), (MANY, 1))  # singletons and rounds
HTTP_SECONDS: Final = 5.0  # wrk measures whole seconds
LOOK_S: Final = 1.0
WRITES: Final = (SET, SET_IN_COROUTINE, SET_MANY)
PROFILED: Final = (GET, MISS, GET_AT_ONCE, GET_MANY, *WRITES)


def start(redis_ports: RedisPorts, folder: Path, is_quick: bool) -> Systems:
    """All that is measured, as this driver sees it."""
    settings = load_settings()
    connect(settings, quiet=True)
    resources = {settings.state_resource: STATE_SHARE}
    (actor,) = start_dict_actors(1, resources)
    (serial_actor,) = start_dict_actors(1, resources, SerialDictActor)
    systems = Systems(settings, redis_ports, actor, serial_actor, folder, is_quick)
    systems.start()
    return systems


def run(systems: Systems, is_quick: bool, only: str) -> Iterator[tuple[str, Mapping[str, Timing]]]:
    """Each work's name and its timing on each system."""
    settings = systems.settings
    seconds = QUICK_SECONDS if is_quick else SECONDS
    with Progress() as progress:
        for work in WORKS:
            if only not in work.name:
                continue
            task = progress.add_task(work.name, total=None)
            operations = work.prepare(systems)
            progress.update(task, total=ROUNDS * len(operations))
            tick = partial(progress.advance, task)
            yield work.name, in_turns(operations, work.units, seconds, ROUNDS, tick)
        for name, measure in _of_many_processes(systems, f"http://127.0.0.1:{settings.api_port}", seconds).items():
            if only not in name:
                continue
            task = progress.add_task(name, total=1)
            yield name, measure()
            progress.advance(task)
        for number, rounds in () if is_quick else BOOTSTRAPS:
            if only not in living_work(number):
                continue
            task = progress.add_task(new_work(number), total=1)
            yield from bootstraps(settings, number, rounds).items()
            progress.advance(task)


def _of_many_processes(systems: Systems, url: str, seconds: float) -> dict[str, Callable[[], Mapping[str, Timing]]]:
    works: dict[str, Callable[[], Mapping[str, Timing]]] = {
        f"get by {number} client processes": partial(clients_at_once, systems, number, seconds) for number in CLIENTS
    }
    for work in (HTTP_GET, HTTP_PUT):
        works[work] = partial(http, work, url, max(seconds, HTTP_SECONDS), ROUNDS)
    return works


def profiles(systems: Systems) -> Iterator[tuple[str, str, str, float]]:
    """Of each work that is to be quicker: the process, the part of the code, its share of the time."""
    mw = get_mw_store()
    actor = {"mw": ray.get(mw.__ray_call__.remote(lambda _: os.getpid()))}
    for work in WORKS:
        if work.name in PROFILED:
            operation = work.prepare(systems)[SEEDCORE]
            writes = actor if work.name in WRITES else {}
            for found in looked_at({"client": os.getpid(), **writes}, operation):
                yield work.name, *found
    url = f"http://127.0.0.1:{systems.settings.api_port}"
    api = {"seedcore-api": listening_at(systems.settings.api_port)}
    for name, writes in ((HTTP_GET, {}), (HTTP_PUT, actor)):
        for found in looked_at({**api, **writes}, partial(requests, name, url, LOOK_S)):
            yield name, *found


def main() -> None:
    """Write the timings as JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--redis-port", type=int, required=True)
    parser.add_argument("--volatile-redis-port", type=int, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--only", default="")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--profile", action="store_true")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    with tempfile.TemporaryDirectory() as folder:
        ports = RedisPorts(arguments.redis_port, arguments.volatile_redis_port)
        systems = start(ports, Path(folder), arguments.quick)
        results: object
        if arguments.profile:
            results = list(profiles(systems))
        else:
            results = {
                name: {system: {"units": one.units, "seconds": one.seconds} for system, one in timings.items()}
                for name, timings in run(systems, arguments.quick, arguments.only)
            }
    arguments.output.write_text(json.dumps(results))


if __name__ == "__main__":
    main()
