"""The works that are measured inside one client process, and what is compared."""

import asyncio
import itertools
import os
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple
from unittest.mock import patch

import diskcache
import numpy as np
import ray
import redis
import redis.asyncio

from benchmarks.measure import Operation
from seedcore.cluster.actor_client import actor_client
from seedcore.memory.working_memory import MwManager
from seedcore.settings import Settings, load_settings
from seedcore.store.valkey import scripts
from seedcore.store.valkey.items import NUMBERED_MS
from seedcore.store.values.codec import encode

SEEDCORE: Final = "SeedCore"
ON_VALKEY: Final = "SeedCore, on Redis"  # what MEMORY_URL does
SCRIPTED: Final = "Redis, by the script of SeedCore"  # the least that is done once and keeps its answer
BY_ACTOR: Final = "SeedCore, without the volume"
REDIS: Final = "Redis"  # with its append-only file: its writes survive its death, as ours do
VOLATILE_REDIS: Final = "Redis, in memory alone"
DISKCACHE: Final = "diskcache"
BARE_ACTOR: Final = "bare Ray actor"
SERIAL_ACTOR: Final = "bare Ray actor, one call at a time"

GET: Final = "get of a small item, hit"
MISS: Final = "get of a small item, miss"
SET: Final = "set of a small item"
GET_AT_ONCE: Final = "64 coroutines get"
SET_AT_ONCE: Final = "64 coroutines set"
GET_IN_COROUTINE: Final = "get in a coroutine"
SET_IN_COROUTINE: Final = "set in a coroutine"
SET_MANY: Final = "10,000 items set in one call"
GET_MANY: Final = "10,000 items got in one call"
SET_ARRAY: Final = "100 MB array set"
GET_ARRAY: Final = "100 MB array got"
GET_OF_THOUSAND: Final = "get with 1 thousand items stored"
GET_OF_MILLION: Final = "get with 1 million items stored"
MOST_MISSED: Final = "top 10 of 1 million misses"

ORGAN: Final = "bench"
SMALL: Final = {"name": "a small item", "number": 42}
CONCURRENCY: Final = 64
MANY: Final = 10_000
ARRAY_BYTES: Final = 100_000_000
LOADED: Final = 10_000  # items that are loaded in one call


class RedisPorts(NamedTuple):
    """Of the Redis that is durable, and of the one that is not."""

    durable: int
    volatile: int


class Systems:
    """All of them, running, as seen by this process.

    Args:
        settings: of our stack.
        redis_ports: of Redis.
        actor: a `peers.DictActor`.
        serial_actor: a `peers.SerialDictActor`.
        folder: for diskcache.
        is_quick: smaller sizes, for a first look.
    """

    def __init__(
        self, settings: Settings, redis_ports: RedisPorts, actor: Any, serial_actor: Any, folder: Path, is_quick: bool
    ) -> None:
        self.settings = settings
        self.is_quick = is_quick
        self.memory = MwManager(ORGAN)
        self.on_valkey = manager_at(f"valkey://127.0.0.1:{redis_ports.durable}")
        elsewhere = settings.model_copy(update={"state_dir": folder})  # where no socket is
        self.mw = actor_client(settings.mw_actor_name, elsewhere)
        self.redis_ports = redis_ports
        self.redis, self.volatile_redis = (redis.Redis(port=port) for port in redis_ports)
        self.actor = actor
        self.serial_actor = serial_actor
        self.cache = diskcache.Cache(str(folder))
        self.loop = asyncio.new_event_loop()
        self.redis_async, self.volatile_redis_async = (redis.asyncio.Redis(port=port) for port in redis_ports)
        self.data = encode(SMALL)
        self.scripted = self.redis.register_script(scripts.SET_ITEMS)
        self.scripted_async = self.redis_async.register_script(scripts.SET_ITEMS)
        self._numbers = itertools.count(1)

    def set_scripted(self, items: Mapping[str, bytes]) -> None:
        """Set items as SeedCore does, by the client library alone."""
        self.scripted(*self._scripted(items))

    async def set_scripted_async(self, item_id: str) -> None:
        """Likewise an item in a coroutine."""
        await self.scripted_async(*self._scripted({item_id: self.data}))

    def _scripted(self, items: Mapping[str, bytes]) -> tuple[list[str], list[Any]]:
        number = next(self._numbers)
        keys = ["{scripted}:requests", *(f"{{scripted}}:{item_id}" for item_id in items)]
        return keys, [number, number, NUMBERED_MS, 0, "{scripted}:pieces:", len(items), *items.values()]

    def start(self) -> None:
        """Have the item that the clients and HTTP get."""
        self.memory.set_item("item", SMALL)
        self.on_valkey.set_item("item", SMALL)
        self.redis.set("item", self.data)

    def load(self, number: int) -> list[str]:
        """Have as many items in our store and in Redis; some of their ids, in random order."""
        for start in range(0, number, LOADED):
            some = {f"loaded-{item}": SMALL for item in range(start, min(start + LOADED, number))}
            self.memory.set_items(some)
            self.redis.mset(dict.fromkeys(some, self.data))
        return [f"loaded-{random.randrange(number)}" for _ in range(LOADED)]  # noqa: S311 - no secret

    def gather(self, call: Callable[[int], Any]) -> None:
        """Run as many coroutines at once as `CONCURRENCY` says."""

        async def all_of_them() -> None:
            await asyncio.gather(*map(call, range(CONCURRENCY)))

        self.loop.run_until_complete(all_of_them())

    def one_by_one(self, call: Callable[[], Any]) -> None:
        """Await as many calls, each after the one before."""

        async def all_of_them() -> None:
            for _ in range(CONCURRENCY):
                await call()

        self.loop.run_until_complete(all_of_them())


def manager_at(url: str) -> MwManager:
    """A manager whose memory is at a `MEMORY_URL`."""
    with patch.dict(os.environ, {"MEMORY_URL": url}):
        load_settings.cache_clear()
        manager = MwManager(ORGAN)
    load_settings.cache_clear()
    return manager


@dataclass(frozen=True)
class Work:
    """One line of the table for each system.

    Args:
        name: what is done.
        prepare: makes the operation of each system.
        units: items in one operation.
    """

    name: str
    prepare: Callable[[Systems], Mapping[str, Operation]]
    units: int = 1


def _get_hit(systems: Systems) -> dict[str, Operation]:
    systems.memory.set_item("item", SMALL)
    systems.on_valkey.set_item("item", SMALL)
    systems.redis.set("item", systems.data)
    systems.cache.set("item", systems.data)
    ray.get([actor.set.remote("item", systems.data) for actor in (systems.actor, systems.serial_actor)])
    return {
        SEEDCORE: lambda: systems.memory.get_item("item"),
        BY_ACTOR: lambda: systems.mw.call("get_many", ORGAN, ["item"]),
        ON_VALKEY: lambda: systems.on_valkey.get_item("item"),
        REDIS: lambda: systems.redis.get("item"),
        DISKCACHE: lambda: systems.cache.get("item"),
        BARE_ACTOR: lambda: ray.get(systems.actor.get.remote("item")),
        SERIAL_ACTOR: lambda: ray.get(systems.serial_actor.get.remote("item")),
    }


def _get_miss(systems: Systems) -> dict[str, Operation]:
    return {
        SEEDCORE: lambda: systems.memory.get_item("missing"),
        ON_VALKEY: lambda: systems.on_valkey.get_item("missing"),
        REDIS: lambda: systems.redis.get("missing"),
        DISKCACHE: lambda: systems.cache.get("missing"),
        BARE_ACTOR: lambda: ray.get(systems.actor.get.remote("missing")),
    }


def _set_one(systems: Systems) -> dict[str, Operation]:
    return {
        SEEDCORE: lambda: systems.memory.set_item("item", SMALL),
        ON_VALKEY: lambda: systems.on_valkey.set_item("item", SMALL),
        SCRIPTED: lambda: systems.set_scripted({"item": systems.data}),
        REDIS: lambda: systems.redis.set("item", systems.data),
        VOLATILE_REDIS: lambda: systems.volatile_redis.set("item", systems.data),
        DISKCACHE: lambda: systems.cache.set("item", systems.data),
        BARE_ACTOR: lambda: ray.get(systems.actor.set.remote("item", systems.data)),
        SERIAL_ACTOR: lambda: ray.get(systems.serial_actor.set.remote("item", systems.data)),
    }


def _get_at_once(systems: Systems) -> dict[str, Operation]:
    systems.memory.set_items({f"item-{number}": SMALL for number in range(CONCURRENCY)})
    systems.on_valkey.set_items({f"item-{number}": SMALL for number in range(CONCURRENCY)})
    systems.redis.mset({f"item-{number}": systems.data for number in range(CONCURRENCY)})
    return {
        SEEDCORE: lambda: systems.gather(lambda number: systems.memory.get_item_async(f"item-{number}")),
        ON_VALKEY: lambda: systems.gather(lambda number: systems.on_valkey.get_item_async(f"item-{number}")),
        BY_ACTOR: lambda: systems.gather(lambda number: systems.mw.call_async("get_many", ORGAN, [f"item-{number}"])),
        REDIS: lambda: systems.gather(lambda number: systems.redis_async.get(f"item-{number}")),
        BARE_ACTOR: lambda: ray.get([systems.actor.get.remote(f"item-{number}") for number in range(CONCURRENCY)]),
    }


def _set_at_once(systems: Systems) -> dict[str, Operation]:
    return {
        SEEDCORE: lambda: systems.gather(lambda number: systems.memory.set_item_async(f"item-{number}", SMALL)),
        ON_VALKEY: lambda: systems.gather(lambda number: systems.on_valkey.set_item_async(f"item-{number}", SMALL)),
        SCRIPTED: lambda: systems.gather(lambda number: systems.set_scripted_async(f"item-{number}")),
        REDIS: lambda: systems.gather(lambda number: systems.redis_async.set(f"item-{number}", systems.data)),
        VOLATILE_REDIS: lambda: systems.gather(
            lambda number: systems.volatile_redis_async.set(f"item-{number}", systems.data)
        ),
        BARE_ACTOR: lambda: ray.get(
            [systems.actor.set.remote(f"item-{number}", systems.data) for number in range(CONCURRENCY)]
        ),
    }


def _get_in_a_coroutine(systems: Systems) -> dict[str, Operation]:
    systems.start()
    return {
        SEEDCORE: lambda: systems.one_by_one(lambda: systems.memory.get_item_async("item")),
        ON_VALKEY: lambda: systems.one_by_one(lambda: systems.on_valkey.get_item_async("item")),
        REDIS: lambda: systems.one_by_one(lambda: systems.redis_async.get("item")),
    }


def _set_in_a_coroutine(systems: Systems) -> dict[str, Operation]:
    return {
        SEEDCORE: lambda: systems.one_by_one(lambda: systems.memory.set_item_async("item", SMALL)),
        ON_VALKEY: lambda: systems.one_by_one(lambda: systems.on_valkey.set_item_async("item", SMALL)),
        SCRIPTED: lambda: systems.one_by_one(lambda: systems.set_scripted_async("item")),
        REDIS: lambda: systems.one_by_one(lambda: systems.redis_async.set("item", systems.data)),
    }


def _set_many(systems: Systems) -> dict[str, Operation]:
    items = {f"many-{number}": SMALL for number in range(MANY)}

    def pipelined(client: redis.Redis) -> None:
        pipeline = client.pipeline(transaction=False)
        for item_id in items:
            pipeline.set(item_id, encode(SMALL))
        pipeline.execute()

    return {
        SEEDCORE: lambda: systems.memory.set_items(items),
        ON_VALKEY: lambda: systems.on_valkey.set_items(items),
        SCRIPTED: lambda: systems.set_scripted({item_id: encode(SMALL) for item_id in items}),
        REDIS: lambda: pipelined(systems.redis),
        VOLATILE_REDIS: lambda: pipelined(systems.volatile_redis),
    }


def _get_many(systems: Systems) -> dict[str, Operation]:
    items = [f"many-{number}" for number in range(MANY)]

    def pipelined() -> None:
        pipeline = systems.redis.pipeline(transaction=False)
        for item_id in items:
            pipeline.get(item_id)
        pipeline.execute()

    return {
        SEEDCORE: lambda: systems.memory.get_items(items),
        ON_VALKEY: lambda: systems.on_valkey.get_items(items),
        REDIS: pipelined,
    }


def _set_array(systems: Systems) -> dict[str, Operation]:
    array = np.random.default_rng(1).random(ARRAY_BYTES // 8)
    return {
        SEEDCORE: lambda: systems.memory.set_item("array", array),
        ON_VALKEY: lambda: systems.on_valkey.set_item("array", array),
        REDIS: lambda: systems.redis.set("array", array.tobytes()),
    }


def _get_array(systems: Systems) -> dict[str, Operation]:
    return {
        SEEDCORE: lambda: systems.memory.get_item("array"),
        ON_VALKEY: lambda: systems.on_valkey.get_item("array"),
        REDIS: lambda: np.frombuffer(systems.redis.get("array"), np.float64),  # type: ignore[arg-type]
    }


def _sum_array(systems: Systems) -> dict[str, Operation]:
    """Got as above, and each number of it read."""
    return {system: lambda get=get: get().sum() for system, get in _get_array(systems).items()}  # type: ignore[misc]


def _hot_items(systems: Systems) -> dict[str, Operation]:
    misses = 20_000 if systems.is_quick else 1_000_000
    chance = random.Random(1)  # noqa: S311 - no secret
    for start in range(0, misses, LOADED):
        ids = [f"hot-{int(chance.paretovariate(1))}" for _ in range(start, start + LOADED)]
        systems.memory.get_global_items(ids)
        systems.on_valkey.get_global_items(ids)
        pipeline = systems.redis.pipeline(transaction=False)
        for item_id in ids:
            pipeline.zincrby("misses", 1, item_id)
        pipeline.execute()
    return {
        SEEDCORE: lambda: systems.memory.get_hot_items(10),
        ON_VALKEY: lambda: systems.on_valkey.get_hot_items(10),
        REDIS: lambda: systems.redis.zrange("misses", 0, 9, desc=True, withscores=True),
    }


def get_of(number: int, name: str) -> Work:
    """A get with so many items stored."""

    def prepare(systems: Systems) -> dict[str, Operation]:
        ids = itertools.cycle(systems.load(number))
        return {
            SEEDCORE: lambda: systems.memory.get_item(next(ids)),
            REDIS: lambda: systems.redis.get(next(ids)),
        }

    return Work(name, prepare)


WORKS: Final = (
    Work(GET, _get_hit),
    Work(MISS, _get_miss),
    Work(SET, _set_one),
    Work(GET_AT_ONCE, _get_at_once, CONCURRENCY),
    Work(SET_AT_ONCE, _set_at_once, CONCURRENCY),
    Work(GET_IN_COROUTINE, _get_in_a_coroutine, CONCURRENCY),
    Work(SET_IN_COROUTINE, _set_in_a_coroutine, CONCURRENCY),
    Work(SET_MANY, _set_many, MANY),
    Work(GET_MANY, _get_many, MANY),
    Work(SET_ARRAY, _set_array),
    Work(GET_ARRAY, _get_array),
    Work("100 MB array got and summed", _sum_array),
    get_of(1_000, GET_OF_THOUSAND),
    get_of(100_000, "get with 100 thousand items stored"),
    get_of(1_000_000, GET_OF_MILLION),
    Work(MOST_MISSED, _hot_items),
)
