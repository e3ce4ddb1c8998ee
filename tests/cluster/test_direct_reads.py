"""A process that sees the state folder reads items from the files; one that does not asks the actors."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import ray

from seedcore.cluster.bootstrap import bootstrap_actors, get_miss_tracker, get_mw_store, get_shared_cache
from seedcore.memory.found_items import FoundItem, Source
from seedcore.memory.misses import Misses
from seedcore.memory.working_memory import MwManager
from seedcore.settings import Settings
from seedcore.store.engine import HotItem
from seedcore.store.recovery import backups
from tests.cluster.cluster import Cluster
from tests.cluster.processes import kill_for_good, paused, pid_of
from tests.waiting import wait_until

WRITER = """
import sys
from seedcore.memory.misses import Misses
from seedcore.memory.working_memory import MwManager
memory = MwManager(sys.argv[1])
print("ready", flush=True)
for line in sys.stdin:
    memory.set_item("number", int(line))
    print("written", flush=True)
"""
READER = """
import sys
from seedcore.memory.misses import Misses
from seedcore.memory.working_memory import MwManager
memory = MwManager(sys.argv[1])
for _ in range(3):
    print("read", memory.get_item("item"))
print("sees its file:", memory._own.sees_file)
"""
ARRAY_LENGTH = 100_000
ARRAYS = f"""
import sys
import numpy as np
from seedcore.memory.misses import Misses
from seedcore.memory.working_memory import MwManager
memory = MwManager(sys.argv[1])
for _ in range(3):
    found = memory.get_item("ours")
    assert found["name"] == "ours" and np.array_equal(found["array"], np.arange({ARRAY_LENGTH})), found
    found["array"][:] = 0
assert np.array_equal(memory.get_global_item("shared"), np.arange({ARRAY_LENGTH}))
assert np.array_equal(memory.get_item("small"), np.arange(3))
memory.set_item("theirs", np.arange({ARRAY_LENGTH}) * 2)
assert np.array_equal(memory.get_item("theirs"), np.arange({ARRAY_LENGTH}) * 2)
print("sees its file:", memory._own.sees_file)
"""


def stats(get: Callable[[], Any]) -> dict[str, float]:
    found: dict[str, float] = ray.get(get().stats.remote())
    return found


def sees_files(memory: MwManager) -> bool:
    return memory._memory.is_readable


@pytest.fixture
def reading_files(memory: MwManager) -> MwManager:
    """A memory whose process has found both files."""
    memory.set_item("first", 1)
    memory.set_global_item("first-shared", 1)
    wait_until(lambda: memory.get_items(["first", "first-shared"]) and sees_files(memory))
    return memory


def test_items_are_read_while_the_actors_are_silent(reading_files: MwManager, item_id: str) -> None:
    memory = reading_files
    memory.set_item(item_id, "own")
    memory.set_global_item(f"{item_id}-shared", "shared")
    with paused(get_mw_store()), paused(get_shared_cache()):
        assert memory.get_item(item_id) == "own"
        assert memory.find_item(item_id) == FoundItem("own", Source.ORGAN)
        assert memory.get_items([item_id, f"{item_id}-shared"]) == {item_id: "own", f"{item_id}-shared": "shared"}
        assert memory.get_global_item(f"{item_id}-shared") == "shared"


async def test_coroutines_read_while_the_actors_are_silent(reading_files: MwManager, item_id: str) -> None:
    memory = reading_files
    large = "x" * 10**6
    await memory.set_item_async(item_id, large)
    await memory.set_global_item_async(f"{item_id}-shared", "shared")
    actor = await asyncio.to_thread(get_mw_store)
    with paused(actor):
        assert await memory.get_item_async(item_id) == large
        assert await memory.get_item_async(f"{item_id}-shared") == "shared"
        assert await memory.find_item_async(item_id) == FoundItem(large, Source.ORGAN)
        assert await memory.find_item_async(f"{item_id}-shared") == FoundItem("shared", Source.SHARED)
        assert await memory.get_items_async([item_id]) == {item_id: large}
        assert await memory.get_global_item_async(f"{item_id}-shared") == "shared"


def test_a_killed_actor_does_not_stop_reads(reading_files: MwManager, item_id: str) -> None:
    memory = reading_files
    memory.set_item(item_id, "kept")
    kill_for_good(get_mw_store())
    assert memory.get_item(item_id) == "kept"
    assert MwManager(memory.organ_id).get_item(item_id) == "kept"
    bootstrap_actors()
    memory.set_item(item_id, "new")
    assert memory.get_item(item_id) == "new"


def test_the_most_missed_are_told_while_their_actor_is_dead(memory: MwManager, item_id: str) -> None:
    for _ in range(3):
        assert memory.get_item(item_id) is None
    wait_until(lambda: item_id in {hot.item_id for hot in memory.get_hot_items(1000)} and _sees_misses(memory))
    kill_for_good(get_miss_tracker())
    assert HotItem(item_id, 3, 0) in memory.get_hot_items(1000)
    assert HotItem(item_id, 3, 0) in asyncio.run(memory.get_hot_items_async(1000))
    assert memory.get_item(item_id) is None  # its count waits
    bootstrap_actors()
    assert HotItem(item_id, 4, 0) in memory.get_hot_items(1000)


def _sees_misses(memory: MwManager) -> bool:
    return cast(Misses, memory._misses)._file.reader is not None


def test_what_another_process_wrote_is_seen_at_once(cluster: Cluster, reading_files: MwManager) -> None:
    memory = reading_files
    with cluster.popen("-c", WRITER, memory.organ_id) as writer:
        assert writer.stdin
        assert writer.stdout
        wait_until(lambda: "ready" in writer.stdout.readline())  # type: ignore[union-attr]
        for number in range(200):
            writer.stdin.write(f"{number}\n")
            writer.stdin.flush()
            wait_until(lambda: "written" in writer.stdout.readline())  # type: ignore[union-attr]
            assert memory.get_item("number") == number
        writer.stdin.close()


@pytest.mark.parametrize("sees_file", [True, False])
def test_a_process_without_the_folder_asks_the_actors(
    cluster: Cluster, memory: MwManager, tmp_path: Path, sees_file: bool
) -> None:
    memory.set_item("item", "kept")
    done = cluster.run("-c", READER, memory.organ_id, **({} if sees_file else {"STATE_DIR": str(tmp_path)}))
    assert done.returncode == 0, done.stdout
    assert done.stdout.count("read kept") == 3
    assert f"sees its file: {sees_file}" in done.stdout


@pytest.mark.parametrize("sees_file", [True, False])
def test_an_array_is_read_by_whoever_asks(
    cluster: Cluster, memory: MwManager, tmp_path: Path, settings: Settings, sees_file: bool
) -> None:
    """Written by the one process and read by the other, of which one may not see the folder."""
    elsewhere = {} if sees_file else {"STATE_DIR": str(tmp_path)}
    ours = {"array": np.arange(ARRAY_LENGTH), "name": "ours"}
    memory.set_items({"ours": ours, "small": np.arange(3)})
    memory.set_global_item("shared", np.arange(ARRAY_LENGTH))
    done = cluster.run("-c", ARRAYS, memory.organ_id, **elsewhere)
    assert done.returncode == 0, done.stdout
    assert f"sees its file: {sees_file}" in done.stdout
    theirs = memory.get_item("theirs")
    assert np.array_equal(theirs, np.arange(ARRAY_LENGTH) * 2)
    theirs[0] = 7  # which nobody else sees
    assert memory.get_item("theirs")[0] == 0
    folder = settings.state_dir / settings.ray_namespace / "mw.sqlite3-arrays"
    before = len(list(folder.iterdir()))
    memory.set_item("ours", "without an array")
    assert memory.delete_item("theirs")
    wait_until(lambda: len(list(folder.iterdir())) == before - 2)


async def test_coroutines_keep_and_get_arrays(memory: MwManager, item_id: str) -> None:
    arrays = {f"{item_id}-{number}": np.full(ARRAY_LENGTH, number) for number in range(8)}
    await asyncio.gather(*(memory.set_item_async(name, array) for name, array in arrays.items()))
    for _ in range(2):  # the first time each file is checked, on a thread
        found = await asyncio.gather(*(memory.get_item_async(name) for name in arrays))
        assert all(map(np.array_equal, found, arrays.values()))
    assert {name: array[0] for name, array in (await memory.get_items_async(arrays)).items()} == {
        f"{item_id}-{number}": number for number in range(8)
    }


def test_an_array_outlives_its_writers_and_its_actor(cluster: Cluster, memory: MwManager) -> None:
    memory.set_item("ours", np.arange(ARRAY_LENGTH))
    kill_for_good(get_mw_store())
    bootstrap_actors()
    assert np.array_equal(memory.get_item("ours"), np.arange(ARRAY_LENGTH))


def test_another_file_in_the_place_of_the_store_is_found(
    reading_files: MwManager, settings: Settings, item_id: str, tmp_path: Path
) -> None:
    memory = reading_files
    memory.set_item(item_id, "before")
    path = settings.state_dir / settings.ray_namespace / "mw.sqlite3"
    before = pid_of(get_mw_store())
    backups.backup(path, tmp_path / "backup")
    memory.set_item(item_id, "after")
    backups.restore(tmp_path / "backup", path)
    memory.set_item("another", 1)  # ends the old process
    assert pid_of(get_mw_store()) != before
    assert memory.get_item(item_id) == "before"
    wait_until(lambda: memory.get_item(item_id) == "before" and sees_files(memory))


def test_the_actor_learns_what_was_read(reading_files: MwManager, item_id: str) -> None:
    memory = reading_files
    memory.set_item(item_id, 1)
    before = stats(get_mw_store)
    for _ in range(50):
        memory.get_item(item_id)
    for _ in range(20):
        memory.get_item(f"{item_id}-missing")
    # The fixture's own reads may come with them.
    wait_until(lambda: 50 <= stats(get_mw_store)["hits"] - before["hits"] < 60)
    wait_until(lambda: 20 <= stats(get_mw_store)["misses"] - before["misses"] < 30)


def test_a_read_keeps_a_shared_item_from_eviction(reading_files: MwManager, settings: Settings, item_id: str) -> None:
    memory = reading_files
    memory.set_global_item(item_id, "read again and again")
    for number in range(settings.shared_cache_max_items + 5):
        assert memory.get_global_item(item_id) == "read again and again"
        memory.set_global_item(f"{item_id}-{number}", number)
    assert memory.get_global_item(item_id) == "read again and again"


def test_threads_share_a_reader(reading_files: MwManager, item_id: str) -> None:
    memory = reading_files
    memory.set_items({f"{item_id}-{number}": number for number in range(100)})

    def read(number: int) -> bool:
        return all(memory.get_item(f"{item_id}-{number}") == number for _ in range(200))

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(read, range(100)))


async def test_concurrent_sets_travel_together(memory: MwManager, item_id: str) -> None:
    await memory.set_item_async(item_id, 0)
    before = await asyncio.to_thread(stats, get_mw_store)
    for _ in range(10):
        await asyncio.gather(*(memory.set_item_async(f"{item_id}-{number}", number) for number in range(64)))
    after = await asyncio.to_thread(stats, get_mw_store)
    assert await memory.get_items_async([f"{item_id}-{number}" for number in range(64)]) == {
        f"{item_id}-{number}": number for number in range(64)
    }
    assert after["transactions"] - before["transactions"] <= 25
