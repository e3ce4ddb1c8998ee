"""Does the works of one process on a machine that has joined: `python -m benchmarks.from_machine OUTPUT REDIS`.

Each beside a bare Ray actor and, at the host and port `REDIS`, a Redis on the head's machine, asked over the same line.
"""

import asyncio
import json
import logging
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import ray
import redis
import redis.asyncio

from benchmarks.measure import Operation, in_turns
from benchmarks.peers import start_dict_actors
from benchmarks.works import ARRAY_BYTES, BARE_ACTOR, CONCURRENCY, ON_VALKEY, ORGAN, REDIS, SEEDCORE, SMALL, manager_at
from seedcore.cluster.connection import connect
from seedcore.cluster.singletons import STATE_SHARE
from seedcore.memory.working_memory import MwManager
from seedcore.settings import load_settings
from seedcore.store.values.codec import encode

SECONDS: Final = 5.0  # for each system in each work
ROUNDS: Final = 5
GET: Final = "get of a small item, from another machine"
SET: Final = "set of a small item, from another machine"
GET_AT_ONCE: Final = "64 gets at once, from another machine"
SET_AT_ONCE: Final = "64 sets at once, from another machine"
SET_ARRAY: Final = "100 MB array set, from another machine"
GET_ARRAY: Final = "100 MB array got, from another machine"


def works(actor: Any, address: str) -> dict[str, tuple[int, Mapping[str, Operation]]]:
    """Units in one operation, and the operation of each system, by the name of the work.

    Args:
        actor: a `peers.DictActor` on the head's machine.
        address: of a Redis there.
    """
    memory = MwManager(ORGAN)
    on_valkey = manager_at(f"valkey://{address}")
    client = redis.Redis.from_url(f"redis://{address}")
    client_async = redis.asyncio.Redis.from_url(f"redis://{address}")
    data = encode(SMALL)
    array = np.random.default_rng(1).random(ARRAY_BYTES // 8)
    for manager in (memory, on_valkey):
        manager.set_items({f"item-{number}": SMALL for number in range(CONCURRENCY)} | {"array": array})
    client.mset({f"item-{number}": data for number in range(CONCURRENCY)} | {"array": array.tobytes()})
    ray.get([actor.set.remote(f"item-{number}", data) for number in range(CONCURRENCY)])
    ray.get(actor.set.remote("array", array))

    loop = asyncio.new_event_loop()

    def at_once(call: Callable[[str], Any]) -> None:
        async def all_of_them() -> None:
            await asyncio.gather(*(call(f"item-{number}") for number in range(CONCURRENCY)))

        loop.run_until_complete(all_of_them())

    def all_of_actor(call: Callable[[str], Any]) -> None:
        ray.get([call(f"item-{number}") for number in range(CONCURRENCY)])

    return {
        GET: (
            1,
            {
                SEEDCORE: lambda: memory.get_item("item-0"),
                ON_VALKEY: lambda: on_valkey.get_item("item-0"),
                REDIS: lambda: client.get("item-0"),
                BARE_ACTOR: lambda: ray.get(actor.get.remote("item-0")),
            },
        ),
        SET: (
            1,
            {
                SEEDCORE: lambda: memory.set_item("item-0", SMALL),
                ON_VALKEY: lambda: on_valkey.set_item("item-0", SMALL),
                REDIS: lambda: client.set("item-0", data),
                BARE_ACTOR: lambda: ray.get(actor.set.remote("item-0", data)),
            },
        ),
        GET_AT_ONCE: (
            CONCURRENCY,
            {
                SEEDCORE: lambda: at_once(memory.get_item_async),
                ON_VALKEY: lambda: at_once(on_valkey.get_item_async),
                REDIS: lambda: at_once(client_async.get),
                BARE_ACTOR: lambda: all_of_actor(actor.get.remote),
            },
        ),
        SET_AT_ONCE: (
            CONCURRENCY,
            {
                SEEDCORE: lambda: at_once(lambda item: memory.set_item_async(item, SMALL)),
                ON_VALKEY: lambda: at_once(lambda item: on_valkey.set_item_async(item, SMALL)),
                REDIS: lambda: at_once(lambda item: client_async.set(item, data)),
                BARE_ACTOR: lambda: all_of_actor(lambda item: actor.set.remote(item, data)),
            },
        ),
        SET_ARRAY: (
            1,
            {
                SEEDCORE: lambda: memory.set_item("array", array),
                ON_VALKEY: lambda: on_valkey.set_item("array", array),
                REDIS: lambda: client.set("array", array.tobytes()),
                BARE_ACTOR: lambda: ray.get(actor.set.remote("array", ray.put(array))),
            },
        ),
        GET_ARRAY: (
            1,
            {
                SEEDCORE: lambda: memory.get_item("array"),
                ON_VALKEY: lambda: on_valkey.get_item("array"),
                REDIS: lambda: np.frombuffer(client.get("array"), np.float64),  # type: ignore[arg-type]
                BARE_ACTOR: lambda: ray.get(actor.get.remote("array")),
            },
        ),
    }


def main() -> None:
    """Write the timings as JSON."""
    output, address = sys.argv[1:]
    logging.basicConfig(level=logging.WARNING)
    settings = load_settings()
    connect(settings, quiet=True)
    (actor,) = start_dict_actors(1, {settings.state_resource: STATE_SHARE})
    results = {}
    for name, (units, operations) in works(actor, address).items():
        timings = in_turns(operations, units, SECONDS, ROUNDS, lambda: None)
        results[name] = {system: {"units": one.units, "seconds": one.seconds} for system, one in timings.items()}
        print(name, flush=True)
    Path(output).write_text(json.dumps(results))


if __name__ == "__main__":
    main()
