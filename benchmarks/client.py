"""One of several client processes that get the same items at once: `python -m benchmarks.client SYSTEM PORT`.

Says when it is ready, starts at a line of standard input, which has the seconds, and prints how many gets it did.
"""

import sys
import time
from collections.abc import Callable
from typing import Final

import redis

from benchmarks.works import ORGAN, REDIS, SEEDCORE
from seedcore.cluster.connection import connect
from seedcore.memory.working_memory import MwManager

WARM_UP: Final = 100  # gets that do not count


def main() -> None:
    """Get an item again and again."""
    system, port = sys.argv[1:]
    gets: dict[str, Callable[[], Callable[[], object]]] = {SEEDCORE: _seedcore, REDIS: lambda: _redis(int(port))}
    get = gets[system]()
    for _ in range(WARM_UP):
        get()
    print("ready", flush=True)
    end = time.perf_counter() + float(sys.stdin.readline())
    done = 0
    while time.perf_counter() < end:
        get()
        done += 1
    print(done, flush=True)


def _seedcore() -> Callable[[], object]:
    connect(quiet=True)
    memory = MwManager(ORGAN)
    return lambda: memory.get_item("item")


def _redis(port: int) -> Callable[[], object]:
    client = redis.Redis(port=port)
    return lambda: client.get("item")


if __name__ == "__main__":
    main()
