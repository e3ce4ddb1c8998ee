"""The promises of MwManager, each in its blocking and in its async form."""

import asyncio
import dataclasses
import datetime as dt
import inspect
import os
import time
from collections.abc import Callable
from functools import partial
from typing import Any
from uuid import uuid4

import numpy as np
import pytest
import ray

from seedcore.cluster.bootstrap import get_miss_tracker, get_mw_store, get_shared_cache
from seedcore.errors import (
    BlockingCallError,
    InvalidKeyError,
    InvalidTtlError,
    InvalidValueError,
    SeedCoreError,
    ValueTooLargeError,
)
from seedcore.memory.found_items import FoundItem, Source
from seedcore.memory.working_memory import MwManager
from seedcore.settings import Settings
from tests.cluster.processes import paused
from tests.waiting import wait_until

pytestmark = pytest.mark.usefixtures("engine")


@dataclasses.dataclass(frozen=True)
class Plan:
    """A value of an application."""

    goal: str
    steps: list[int]


class AsyncTwins:
    """Calls `NAME_async` of a manager on an event loop of its own, so that one test reads the same for both forms."""

    def __init__(self, memory: MwManager) -> None:
        self.organ_id = memory.organ_id
        self._memory = memory

    def __getattr__(self, name: str) -> Callable[..., Any]:
        async def run(*arguments: Any, **named: Any) -> Any:
            return await getattr(self._memory, f"{name}_async")(*arguments, **named)

        return lambda *arguments, **named: asyncio.run(run(*arguments, **named))


@pytest.fixture(params=["blocking", "async"])
def form(request: pytest.FixtureRequest, settings: Settings) -> Callable[[str], Any]:
    """Makes a manager of an organ, in one of both forms."""
    return MwManager if request.param == "blocking" else lambda organ_id: AsyncTwins(MwManager(organ_id))


@pytest.fixture
def organ(form: Callable[[str], Any]) -> Any:
    """A manager of an organ that nobody else uses."""
    return form(f"organ-{uuid4().hex[:8]}")


def read_in_task(organ_id: str, item_id: str) -> Any:
    return MwManager(organ_id).get_item(item_id)


def test_every_blocking_method_has_an_async_twin_with_the_same_arguments() -> None:
    methods = {
        name: function
        for name, function in inspect.getmembers(MwManager, inspect.isfunction)
        if not name.startswith("_")
    }
    blocking = {name for name in methods if not name.endswith("_async")}
    assert {f"{name}_async" for name in blocking} == set(methods) - blocking
    for name in blocking:
        twin = methods[f"{name}_async"]
        assert inspect.iscoroutinefunction(twin)
        assert inspect.signature(twin).parameters == inspect.signature(methods[name]).parameters


def test_what_an_organ_sets_it_gets(organ: Any, item_id: str) -> None:
    organ.set_item(item_id, {"step": 1})
    assert organ.get_item(item_id) == {"step": 1}
    organ.set_item(item_id, {"step": 2})
    assert organ.get_item(item_id) == {"step": 2}


def test_an_organs_items_are_its_own(organ: Any, form: Callable[[str], Any], item_id: str) -> None:
    other = form(f"other-{organ.organ_id}")
    organ.set_item(item_id, "mine")
    assert other.get_item(item_id) is None
    other.set_item(item_id, "its")
    assert organ.get_item(item_id) == "mine"


def test_a_get_looks_into_the_organs_items_then_the_shared_ones(
    organ: Any, form: Callable[[str], Any], item_id: str
) -> None:
    other = form(f"other-{organ.organ_id}")
    other.set_global_item(item_id, "everybody's")
    assert organ.get_item(item_id) == "everybody's"
    organ.set_item(item_id, "mine")
    assert organ.get_item(item_id) == "mine"
    assert organ.get_global_item(item_id) == "everybody's"
    found = organ.find_items([item_id])
    assert (found[item_id].value, found[item_id].source) == ("mine", Source.ORGAN)
    assert organ.find_item(item_id) == found[item_id]
    assert organ.delete_item(item_id)
    assert organ.find_items([item_id])[item_id].source == Source.SHARED
    assert organ.find_item(item_id) == FoundItem("everybody's", Source.SHARED)


def test_a_get_that_finds_nothing_returns_the_default_and_counts_a_miss(organ: Any, item_id: str) -> None:
    default = object()
    for _ in range(50):
        assert organ.get_item(item_id, default) is default
    assert organ.get_global_item(item_id, "default") == "default"
    assert organ.find_item(item_id) is None
    hot = {hot.item_id: hot for hot in organ.get_hot_items(1000)}
    assert hot[item_id].misses - hot[item_id].overcount <= 52 <= hot[item_id].misses


def test_a_hit_counts_no_miss(organ: Any, item_id: str) -> None:
    organ.set_item(item_id, None)
    assert organ.get_item(item_id, "default") is None
    assert item_id not in {hot.item_id for hot in organ.get_hot_items(1000)}


def test_hot_items_come_most_missed_first_and_no_more_than_asked_for(organ: Any, item_id: str) -> None:
    organ.get_items([f"{item_id}-{number}" for number in range(3)])
    hot = organ.get_hot_items(5)
    assert len(hot) <= 5
    assert [item.misses for item in hot] == sorted((item.misses for item in hot), reverse=True)
    assert organ.get_hot_items(0) == []


def test_deleting_tells_whether_there_was_something(organ: Any, item_id: str) -> None:
    organ.set_item(item_id, 1)
    organ.set_global_item(item_id, 2)
    assert organ.delete_item(item_id) is True
    assert organ.delete_item(item_id) is False
    assert organ.get_item(item_id) == 2
    assert organ.delete_global_item(item_id) is True
    assert organ.delete_global_item(item_id) is False
    assert organ.get_item(item_id) is None


def test_many_items_in_one_call(organ: Any, item_id: str) -> None:
    own = {f"{item_id}-{number}": number for number in range(1000)}
    organ.set_items(own)
    organ.set_global_items({f"{item_id}-shared": "shared"})
    wanted = [*own, f"{item_id}-shared", f"{item_id}-missing"]
    assert organ.get_items(wanted) == {**own, f"{item_id}-shared": "shared"}
    assert organ.get_global_items(wanted[-2:]) == {f"{item_id}-shared": "shared"}
    assert organ.delete_items(wanted[:3]) == wanted[:3]
    assert organ.delete_items(wanted[:3]) == []
    assert organ.delete_global_items(wanted[-2:]) == [f"{item_id}-shared"]
    assert organ.get_items([]) == {}
    organ.set_items({})


@pytest.mark.parametrize("set_many", ["set_items", "set_global_items"])
def test_many_items_are_kept_all_or_none(organ: Any, item_id: str, set_many: str) -> None:
    with pytest.raises(InvalidValueError):
        getattr(organ, set_many)({item_id: "good", f"{item_id}-bad": object()})
    assert organ.get_item(item_id) is None


@pytest.mark.parametrize(("set_one", "get_one"), [("set_item", "get_item"), ("set_global_item", "get_global_item")])
def test_an_item_with_a_time_to_live_expires(organ: Any, item_id: str, set_one: str, get_one: str) -> None:
    getattr(organ, set_one)(f"{item_id}-long", "stays", ttl_s=3600)
    getattr(organ, set_one)(item_id, "goes", ttl_s=1)
    wait_until(lambda: getattr(organ, get_one)(item_id) is None, timeout_s=20)
    assert getattr(organ, get_one)(f"{item_id}-long") == "stays"
    getattr(organ, set_one)(item_id, "stays now")
    assert getattr(organ, get_one)(item_id) == "stays now"


@pytest.mark.parametrize(
    "value",
    [
        None, True, 0, -1, 2**63, -(2**200), 1.5, float("inf"), "", "Grüße 🎭", b"", b"\x00\xff", [], [1, [2, {}]],
        {"nested": {"list": [1, None]}}, {1: "int key", "1": "str key"}, (1, "two"), {1, 2}, frozenset("a"),
        dt.datetime(2026, 11, 24, 8, 30, tzinfo=dt.UTC), dt.date(2026, 11, 24), dt.timedelta(days=1, microseconds=5),
        Plan("walk", [1, 2]), np.float32(0.5),
    ],
    ids=repr,
)  # fmt: skip
def test_values_come_back_equal_and_of_their_type(memory: MwManager, item_id: str, value: Any) -> None:
    memory.set_item(item_id, value)
    read = memory.get_item(item_id)
    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize("megabytes", [0, 1, 100])
def test_arrays_come_back_equal(organ: Any, item_id: str, megabytes: int) -> None:
    array = np.arange(megabytes * 2**17, dtype=np.float64).reshape(2, -1)
    organ.set_item(item_id, array)
    read = organ.get_item(item_id)
    assert read.dtype == array.dtype
    np.testing.assert_array_equal(read, array)
    organ.delete_item(item_id)


@pytest.mark.parametrize("value", [object(), print, type, np.array([object()]), open, iter([])], ids=type)
def test_what_is_not_data_is_refused(organ: Any, item_id: str, value: Any) -> None:
    organ.set_item(item_id, "before")
    with pytest.raises(InvalidValueError):
        organ.set_item(item_id, value)
    assert organ.get_item(item_id) == "before"


@pytest.mark.parametrize("bad", ["", "x" * 257, None, 7, b"bytes", "\ud800"], ids=repr)
def test_bad_item_ids_are_refused(organ: Any, bad: Any) -> None:
    for call in (
        partial(organ.get_item, bad),
        partial(organ.set_item, bad, 1),
        partial(organ.delete_item, bad),
        partial(organ.set_global_items, {bad: 1}),
        partial(organ.get_items, ["good", bad]),
    ):
        with pytest.raises(InvalidKeyError, match="item_id"):
            call()


@pytest.mark.parametrize("bad", ["", "x" * 257, None, 7], ids=repr)
def test_bad_organ_ids_are_refused(settings: Settings, bad: Any) -> None:
    with pytest.raises(InvalidKeyError, match="organ_id"):
        MwManager(bad)


@pytest.mark.parametrize("ttl_s", [0, -1, float("nan"), float("inf"), "1", True], ids=repr)
def test_bad_times_to_live_are_refused(organ: Any, item_id: str, ttl_s: Any) -> None:
    with pytest.raises(InvalidTtlError, match="ttl_s"):
        organ.set_item(item_id, 1, ttl_s=ttl_s)
    assert organ.get_item(item_id) is None


def test_a_value_above_the_limit_is_refused_and_nothing_is_cut(organ: Any, settings: Settings, item_id: str) -> None:
    with pytest.raises(ValueTooLargeError, match="VALUE_MAX_BYTES"):
        organ.set_item(item_id, bytes(settings.value_max_bytes))
    assert organ.get_item(item_id) is None


def test_longest_key_is_kept_whole(organ: Any, settings: Settings, item_id: str) -> None:
    longest = item_id + "ü" * (settings.key_max_length - len(item_id))
    organ.set_item(longest, "kept")
    assert organ.get_item(longest) == "kept"
    assert organ.get_item(longest[:-1]) is None


def test_a_task_on_a_worker_reads_what_was_just_written(memory: MwManager, item_id: str) -> None:
    environment = {name: os.environ[name] for name in ("RAY_NAMESPACE", "MEMORY_URL") if name in os.environ}
    task: Any = ray.remote(num_cpus=1, runtime_env={"env_vars": environment})(read_in_task)
    for number in range(5):
        memory.set_item(item_id, number)
        assert ray.get(task.remote(memory.organ_id, item_id), timeout=60) == number


async def test_many_coroutines_at_once_each_read_their_own_write(memory: MwManager, item_id: str) -> None:
    async def write_and_read(number: int) -> None:
        for turn in range(5):
            await memory.set_item_async(f"{item_id}-{number}", [number, turn])
            assert await memory.get_item_async(f"{item_id}-{number}") == [number, turn]

    await asyncio.gather(*(write_and_read(number) for number in range(64)))


@pytest.mark.only_sqlite("on Valkey there are no transactions of an actor to share")
async def test_concurrent_writes_share_transactions(memory: MwManager, item_id: str) -> None:
    actor: Any = await asyncio.to_thread(get_mw_store)
    await memory.connect_async()
    before = (await actor.stats.remote())["transactions"]
    keys = [f"{item_id}-{number}" for number in range(500)]
    pause = paused(actor)
    await asyncio.to_thread(pause.__enter__)  # so that the writes pile up
    writes = [asyncio.create_task(memory.set_item_async(key, key)) for key in keys]
    await asyncio.wait(writes, timeout=0.5)
    pause.__exit__(None, None, None)
    await asyncio.gather(*writes)
    assert (await actor.stats.remote())["transactions"] - before < len(keys)  # how many fewer is up to the machine
    assert await memory.get_items_async(keys) == dict(zip(keys, keys, strict=True))


@pytest.mark.parametrize("call", ["get_item", "find_item", "delete_item", "get_items", "get_hot_items", "connect"])
async def test_a_blocking_method_on_an_event_loop_is_refused(memory: MwManager, call: str) -> None:
    arguments = {"get_items": (["item"],), "get_hot_items": (3,), "connect": ()}.get(call, ("item",))
    with pytest.raises(BlockingCallError, match="_async"):
        getattr(memory, call)(*arguments)


async def test_a_blocking_method_in_a_thread_beside_an_event_loop_works(memory: MwManager, item_id: str) -> None:
    await asyncio.to_thread(memory.set_item, item_id, 1)
    assert await memory.get_item_async(item_id) == 1


def test_the_shared_cache_stays_within_its_bound_and_keeps_what_is_used(memory: MwManager, settings: Settings) -> None:
    prefix = uuid4().hex[:8]
    bound = settings.shared_cache_max_items
    memory.set_global_item(f"{prefix}-used", "kept")
    for number in range(2 * bound):
        memory.set_global_item(f"{prefix}-{number}", number)
        assert memory.get_global_item(f"{prefix}-used") == "kept"
    actor: Any = get_shared_cache()
    stats = ray.get(actor.stats.remote())
    assert stats["items"] == bound
    assert stats["evictions"] >= bound
    survivors = memory.get_global_items([f"{prefix}-{number}" for number in range(2 * bound)])
    assert list(survivors.values()) == list(range(bound + 1, 2 * bound))


def test_the_miss_tracker_stays_within_its_bound_and_keeps_the_heavy_hitters(
    memory: MwManager, settings: Settings
) -> None:
    prefix = uuid4().hex[:8]
    actor: Any = get_miss_tracker()
    memory.get_hot_items()  # before which all misses are counted, those of other tests as well
    before = ray.get(actor.stats.remote())["misses"]
    for number in range(20):
        memory.get_items([f"{prefix}-{number}-{one}" for one in range(10)])
        for hot in ("first", "second"):
            memory.get_item(f"{prefix}-{hot}")
            memory.get_item(f"{prefix}-first")
    memory.get_hot_items()
    stats = ray.get(actor.stats.remote())
    assert stats["items"] == settings.miss_tracker_max_items
    assert stats["evictions"] > 0
    assert stats["misses"] - before == 20 * (10 + 4)
    counted = {hot.item_id: hot for hot in memory.get_hot_items(settings.miss_tracker_max_items)}
    first, second = counted[f"{prefix}-first"], counted[f"{prefix}-second"]
    assert first.misses - first.overcount <= 60 <= first.misses
    assert second.misses - second.overcount <= 20 <= second.misses


@pytest.mark.only_sqlite("on Valkey nobody counts the bytes of organs' items, and the engine expires them")
def test_statistics_count_hits_misses_items_and_bytes(memory: MwManager, item_id: str) -> None:
    actor: Any = get_mw_store()
    before = ray.get(actor.stats.remote())
    memory.set_item(item_id, b"x" * 1000)
    memory.set_item(f"{item_id}-goes", 1, ttl_s=0.1)
    memory.get_items([item_id, f"{item_id}-missing"])
    wait_until(lambda: ray.get(actor.stats.remote())["expirations"] == before["expirations"] + 1)
    after = ray.get(actor.stats.remote())
    assert after["items"] == before["items"] + 1
    assert 1000 <= after["bytes"] - before["bytes"] < 1010
    # What was read from the file is told a moment later; reads of the test before may come with it.
    wait_until(lambda: ray.get(actor.stats.remote())["hits"] > before["hits"])
    wait_until(lambda: ray.get(actor.stats.remote())["misses"] > before["misses"])


def test_a_manager_says_that_it_is_ready(settings: Settings, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", "seedcore"):
        MwManager("utility_organ_1_agent_0").connect()
    assert "✅ MwManager for organ='utility_organ_1_agent_0' ready" in caplog.text


def test_errors_of_the_actor_arrive_as_they_are(settings: Settings) -> None:
    memory = MwManager("organ")
    with pytest.raises(SeedCoreError, match="number of hot items"):
        memory.get_hot_items(-1)


def test_expired_items_do_not_come_back_in_many_item_forms(memory: MwManager, item_id: str) -> None:
    memory.set_items({f"{item_id}-{number}": number for number in range(10)}, ttl_s=0.5)
    deadline = time.monotonic() + 20
    while memory.get_items([f"{item_id}-0"]):
        assert time.monotonic() < deadline
    assert memory.get_items([f"{item_id}-{number}" for number in range(10)]) == {}
    assert memory.delete_items([f"{item_id}-{number}" for number in range(10)]) == []
