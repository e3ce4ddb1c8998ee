"""Does the works of one client process, as a driver of the stack: `python -m scripts.bench.in_process ARGUMENTS`."""

import argparse
import json
import logging
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from rich.progress import Progress

from scripts.bench.measure import Timing, in_turns
from scripts.bench.peers import start_dict_actor
from scripts.bench.works import WORKS, Systems
from seedcore.cluster import connect
from seedcore.settings import load_settings
from seedcore.singletons import STATE_SHARE

SECONDS: Final = 5.0  # for each system in each work
QUICK_SECONDS: Final = 0.6
ROUNDS: Final = 5


def run(redis_port: int, folder: Path, is_quick: bool, only: str) -> Iterator[tuple[str, Mapping[str, Timing]]]:
    """Each work's name and its timing on each system."""
    settings = load_settings()
    connect(settings, quiet=True)
    systems = Systems(settings, redis_port, start_dict_actor({settings.state_resource: STATE_SHARE}), folder, is_quick)
    works = [work for work in WORKS if only in work.name]
    with Progress() as progress:
        for work in works:
            task = progress.add_task(work.name, total=None)
            operations = work.prepare(systems)
            progress.update(task, total=ROUNDS * len(operations))
            seconds = QUICK_SECONDS if is_quick else SECONDS
            yield work.name, in_turns(operations, work.units, seconds, ROUNDS, lambda: progress.advance(task))  # noqa: B023 - called before the next one


def main() -> None:
    """Write the timings as JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--redis-port", type=int, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--only", default="")
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    with tempfile.TemporaryDirectory() as folder:
        works = run(arguments.redis_port, Path(folder), arguments.quick, arguments.only)
        results = {
            name: {system: {"units": one.units, "seconds": one.seconds} for system, one in timings.items()}
            for name, timings in works
        }
    arguments.output.write_text(json.dumps(results))


if __name__ == "__main__":
    main()
