"""One of several client processes that get the same items at once: `python -m benchmarks.client SYSTEM REDIS`.

`REDIS` is its host and port.

Says when it is ready, starts at a line of standard input, which has the seconds, and prints how many gets it did.
"""

import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Final

import redis

from benchmarks.works import ON_VALKEY, ORGAN, REDIS, SEEDCORE, manager_at
from seedcore.cluster.connection import connect
from seedcore.memory.working_memory import MwManager

WARM_UP: Final = 100  # gets that do not count


def main() -> None:
    """Get an item again and again."""
    system, address = sys.argv[1:]
    gets: dict[str, Callable[[str], Callable[[], object]]] = {
        SEEDCORE: _seedcore,
        ON_VALKEY: lambda address: partial(manager_at(f"valkey://{address}").get_item, "item"),
        REDIS: lambda address: partial(redis.Redis.from_url(f"redis://{address}").get, "item"),
    }
    get = gets[system](address)
    for _ in range(WARM_UP):
        get()
    print("ready", flush=True)
    end = time.perf_counter() + float(sys.stdin.readline())
    done = 0
    while time.perf_counter() < end:
        get()
        done += 1
    print(done, flush=True)


def _seedcore(_: str) -> Callable[[], object]:
    connect(quiet=True)
    return partial(MwManager(ORGAN).get_item, "item")


if __name__ == "__main__":
    main()
