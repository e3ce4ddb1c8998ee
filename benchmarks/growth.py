"""How the cost of each operation grows, with items stored, bytes of a value and clients, and what a disk has of it.

Does its works as a driver of the stack: `python -m benchmarks.growth --output=FILE`.
"""

import argparse
import itertools
import json
import logging
import os
import random
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import psutil
import ray
from rich.progress import Progress

from benchmarks.measure import Operation, in_turns
from benchmarks.works import LOADED, ORGAN, SMALL
from seedcore.cluster.actor_client import actor_client
from seedcore.cluster.actor_process import describe_process
from seedcore.cluster.connection import connect
from seedcore.cluster.singletons import store_of
from seedcore.memory.working_memory import MwManager
from seedcore.settings import Settings, load_settings

SECONDS: Final = 1.5  # for each operation at each point
ROUNDS: Final = 3
ITEMS: Final = (1_000, 10_000, 100_000, 1_000_000, 10_000_000)
BYTES: Final = tuple(10**power for power in range(1, 9))
CLIENTS: Final = (1, 4, 16, 64)
IN_ONE_CALL: Final = 1_000
QUICK: Final = 100_000  # items, bytes and nothing above
QUICK_CLIENTS: Final = 4
RESTART_DEADLINE_S: Final = "300"

OF_ITEMS: Final = "items stored"
OF_BYTES: Final = "bytes of a value, a numpy array"
OF_CLIENTS: Final = "client processes at once"
Curves = dict[str, dict[str, list[tuple[int, float]]]]


@dataclass
class Growth:
    """What was measured.

    Args:
        curves: by what grows and by operation, its sizes with the median seconds of one operation.
        facts: what is no curve, in words, by what it is.
    """

    curves: Curves = field(default_factory=dict)
    facts: dict[str, str] = field(default_factory=dict)

    def add(self, what: str, size: int, operations: Mapping[str, Operation], units: int = 1) -> None:
        """Measure some operations at one size."""
        for name, timing in in_turns(operations, units, SECONDS, ROUNDS, lambda: None).items():
            self._point(what, name, size, timing.p50_s)

    def _point(self, what: str, operation: str, size: int, seconds: float) -> None:
        self.curves.setdefault(what, {}).setdefault(operation, []).append((size, seconds))

    def add_throughput(self, what: str, operation: str, size: int, per_second: float) -> None:
        """Note what several clients did together."""
        self._point(what, operation, size, 1 / per_second)


class Client:
    """One of several processes that use the memory at once: an actor of Ray, as a user's own would be."""

    def __init__(self) -> None:
        self._memory = MwManager(ORGAN)
        self._memory.set_item(f"of-{os.getpid()}", SMALL)
        self._memory.get_item("item")

    def run(self, operation: str, seconds: float) -> int:
        """Do it again and again; how often."""
        own = f"of-{os.getpid()}"
        do: Operation = {
            "get": lambda: self._memory.get_item("item"),
            "set": lambda: self._memory.set_item(own, SMALL),
        }[operation]
        end = time.perf_counter() + seconds
        for done in itertools.count(1):
            do()
            if time.perf_counter() >= end:
                return done
        raise AssertionError


def _of_items(growth: Growth, settings: Settings, memory: MwManager, most: int) -> Iterator[str]:
    stored = 0
    memory.get_global_items([f"missed-{item}" for item in range(settings.miss_tracker_max_items)])
    file = settings.state_dir / store_of(settings.mw_actor_name, settings)
    for number in (number for number in ITEMS if number <= most):
        yield f"{number:,} items"
        for start in range(stored, number, LOADED):
            memory.set_items({f"item-{item}": SMALL for item in range(start, min(start + LOADED, number))})
        stored = number
        ids = itertools.cycle([f"item-{random.randrange(number)}" for _ in range(LOADED)])  # noqa: S311 - no secret
        operations: dict[str, Callable[[], object]] = {
            "get": lambda ids=ids: memory.get_item(next(ids)),  # type: ignore[misc]
            "get that misses": lambda: memory.get_item("missing"),
            "set": lambda ids=ids: memory.set_item(next(ids), SMALL),  # type: ignore[misc]
            "set of a new item, and its delete": lambda: _set_and_delete(memory),
            "top 10 of the misses, all alike": lambda: memory.get_hot_items(10),
        }
        growth.add(OF_ITEMS, number, operations)
        some = [next(ids) for _ in range(IN_ONE_CALL)]
        many = {"1,000 items in one get, each": lambda some=some: memory.get_items(some)}
        growth.add(OF_ITEMS, number, many, len(set(some)))
        process = psutil.Process().memory_info()
        growth.facts[f"memory of the reading process, {number:,} items stored"] = f"{process.rss / 2**20:,.0f} MiB"
    size = _bytes_on_disk(file)
    growth.facts[f"on disk for each of {stored:,} small items"] = f"{size / stored:,.0f} bytes"
    yield "restarts"
    growth.facts[f"from SIGKILL to the next answered set, {stored:,} items"] = f"{_restart(settings, memory):.2f} s"
    memory.set_items({f"item-{item}": SMALL for item in range(min(stored, 10 * LOADED))})  # leaves a long log
    log = _bytes_on_disk(file) - file.stat().st_size
    again = _restart(settings, memory)
    growth.facts[f"likewise, with a log of {log / 2**20:,.0f} MiB"] = f"{again:.2f} s"
    yield "deletes"
    part = stored // 10
    for start in range(0, part, LOADED):
        memory.delete_items([f"item-{item}" for item in range(start, min(start + LOADED, part))])
    growth.facts["on disk after the delete of a tenth of them"] = f"{_bytes_on_disk(file) / size:.0%} of before"
    for start in range(0, part, LOADED):
        memory.set_items({f"again-{item}": SMALL for item in range(start, min(start + LOADED, part))})
    growth.facts["and after as many others were set"] = f"{_bytes_on_disk(file) / size:.0%}"


def _set_and_delete(memory: MwManager) -> None:
    memory.set_item("for a moment", SMALL)
    memory.delete_item("for a moment")


def _bytes_on_disk(file: Path) -> int:
    log = file.with_name(f"{file.name}-wal")
    return file.stat().st_size + (log.stat().st_size if log.exists() else 0)


def _restart(settings: Settings, memory: MwManager) -> float:
    actor: Any = actor_client(settings.mw_actor_name, settings).find()
    os.kill(ray.get(actor.__ray_call__.remote(describe_process)).pid, signal.SIGKILL)
    began = time.perf_counter()
    memory.set_item("item", SMALL)
    return time.perf_counter() - began


def _of_bytes(growth: Growth, memory: MwManager, most: int) -> Iterator[str]:
    for size in (size for size in BYTES if size <= most):
        yield f"{size:,} bytes"
        array = np.random.default_rng(1).integers(0, 256, size, np.uint8)
        operations: dict[str, Callable[[], object]] = {
            "set": lambda array=array: memory.set_item("array", array),  # type: ignore[misc]
            "get": lambda: memory.get_item("array"),
            "get, and each byte of it read": lambda: memory.get_item("array").sum(),
        }
        growth.add(OF_BYTES, size, operations)
    memory.delete_item("array")


def _of_clients(growth: Growth, memory: MwManager, most: int) -> Iterator[str]:
    memory.set_item("item", SMALL)
    client_class: Any = ray.remote(num_cpus=0)(Client)
    clients: list[Any] = []
    for number in (number for number in CLIENTS if number <= most):
        yield f"{number} clients"
        clients += [client_class.remote() for _ in range(number - len(clients))]
        ray.get([client.__ray_ready__.remote() for client in clients])
        for operation in ("get", "set"):
            done = sum(ray.get([client.run.remote(operation, SECONDS) for client in clients]))
            growth.add_throughput(OF_CLIENTS, f"{operation}, all of them together", number, done / SECONDS)
    for client in clients:
        ray.kill(client)


def main() -> None:
    """Write what was measured as JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    os.environ["CALL_DEADLINE_S"] = RESTART_DEADLINE_S
    settings = load_settings()
    connect(settings, quiet=True)
    memory, growth = MwManager(ORGAN), Growth()
    most, clients = (QUICK, QUICK_CLIENTS) if arguments.quick else (max(BYTES), max(CLIENTS))
    steps = itertools.chain(
        _of_bytes(growth, memory, most),
        _of_clients(growth, memory, clients),
        _of_items(growth, settings, memory, most),
    )
    with Progress() as progress:
        task = progress.add_task("", total=None)
        for step in steps:
            progress.update(task, description=step)
    arguments.output.write_text(json.dumps(asdict(growth)))


if __name__ == "__main__":
    main()
