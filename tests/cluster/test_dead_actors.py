"""Actors die; nothing that was acknowledged is lost, and every call is answered."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import ray

from seedcore.cluster.bootstrap import bootstrap_actors, create_actor, get_miss_tracker, get_mw_store, get_shared_cache
from seedcore.cluster.singletons import Singleton
from seedcore.cluster.status import singleton_statuses
from seedcore.errors import ActorNotFoundError, ActorUnavailableError
from seedcore.memory.working_memory import MwManager
from seedcore.settings import Settings, Synchronous
from seedcore.store.sqlite.item_store import ItemStore
from tests.cluster.cluster import Cluster
from tests.cluster.processes import kill_for_good, kill_process, paused, pid_of
from tests.waiting import wait_until

READER = """
import sys
from seedcore.memory.working_memory import MwManager
print("read", MwManager(sys.argv[1]).get_item(sys.argv[2]))
"""
WRITERS = 4
DEATHS = 3


def test_what_was_set_survives_the_death_of_every_actor(memory: MwManager, item_id: str) -> None:
    memory.set_item(item_id, "own")
    memory.set_global_item(f"{item_id}-shared", "shared")
    memory.get_items([f"{item_id}-missing"])
    before = {hot.item_id: hot.misses for hot in memory.get_hot_items(1000)}
    pids = [kill_process(get()) for get in (get_mw_store, get_shared_cache, get_miss_tracker)]
    assert memory.get_item(item_id) == "own"
    assert memory.get_item(f"{item_id}-shared") == "shared"
    assert {hot.item_id: hot.misses for hot in memory.get_hot_items(1000)} == before
    assert not set(pids) & {pid_of(get()) for get in (get_mw_store, get_shared_cache, get_miss_tracker)}


def test_no_acknowledged_write_is_lost_and_none_fails_while_the_actor_dies(settings: Settings) -> None:
    stop = threading.Event()

    def write(memory: MwManager) -> int:
        number = 0
        while not stop.is_set():
            number += 1
            memory.set_item("item", number)
            assert memory.get_item("item") == number
        return number

    organs = [MwManager(f"writer-{uuid4().hex[:8]}") for _ in range(WRITERS)]
    with ThreadPoolExecutor(WRITERS) as pool:
        writing = [pool.submit(write, organ) for organ in organs]
        try:
            for _ in range(DEATHS):
                killed = kill_process(get_mw_store())
                wait_until(lambda killed=killed: pid_of(get_mw_store()) != killed)  # type: ignore[misc]
        finally:
            stop.set()
        acknowledged = [task.result(timeout=60) for task in writing]
    assert min(acknowledged) > 0
    assert [organ.get_item("item") for organ in organs] == acknowledged


def test_new_code_is_loaded_by_a_restart_that_keeps_the_items(memory: MwManager, item_id: str) -> None:
    memory.set_item(item_id, "kept")
    actor = get_mw_store()
    before = pid_of(actor)
    ray.kill(actor, no_restart=False)
    wait_until(lambda: pid_of(actor) != before)
    assert memory.get_item(item_id) == "kept"


def test_a_client_that_knows_a_killed_actor_finds_its_successor(memory: MwManager, item_id: str) -> None:
    memory.set_item(item_id, "kept")
    kill_for_good(get_mw_store())
    bootstrap_actors()
    assert memory.get_item(item_id) == "kept"


def test_a_client_of_a_killed_actor_says_what_to_do(memory: MwManager, item_id: str) -> None:
    memory.set_item(item_id, "kept")
    kill_for_good(get_mw_store())
    with pytest.raises((ActorNotFoundError, ActorUnavailableError), match="make bootstrap"):
        memory.set_item(item_id, "not kept")
    bootstrap_actors()
    assert memory.get_item(item_id) == "kept"


def test_auto_create_brings_a_killed_actor_back_with_its_items(
    cluster: Cluster, memory: MwManager, item_id: str
) -> None:
    memory.set_item(item_id, "kept")
    kill_for_good(get_mw_store())
    done = cluster.run("-c", READER, memory.organ_id, item_id, AUTO_CREATE="1")
    assert done.returncode == 0, done.stdout
    assert "read kept" in done.stdout
    assert memory.get_item(item_id) == "kept"


def test_a_call_ends_with_an_error_when_an_actor_stays_silent(
    cluster: Cluster, memory: MwManager, item_id: str
) -> None:
    memory.set_item(item_id, "kept")
    with paused(get_mw_store()):
        done = cluster.run("-c", READER, memory.organ_id, item_id, CALL_DEADLINE_S="1", LOOKUP_DEADLINE_S="1")
    assert done.returncode != 0
    assert "ActorUnavailableError" in done.stdout
    assert "actor with name 'mw'" in done.stdout
    assert memory.get_item(item_id) == "kept"


def test_two_writers_of_one_store_the_older_one_is_fenced(memory: MwManager, item_id: str) -> None:
    memory.set_item(item_id, "before")
    actor: Any = get_mw_store()
    before = pid_of(actor)
    path = ray.get(actor.__ray_call__.remote(lambda self: str(self._keeper._store.database.path)))

    ItemStore(Path(path), Synchronous.NORMAL).database.close()  # another process opens it as its writer
    memory.set_item(item_id, "after")  # the actor's process ends, its successor writes
    assert memory.get_item(item_id) == "after"
    assert pid_of(actor) != before


def test_status_says_why_an_actor_does_not_run(settings: Settings) -> None:
    assert [(status.class_name, status.running) for status in singleton_statuses(settings)] == [
        ("MissTracker", True),
        ("SharedCache", True),
        ("MwStore", True),
    ]
    kill_for_good(get_shared_cache())
    with paused(get_miss_tracker()):
        statuses = {status.name: status for status in singleton_statuses(settings, detailed=True)}
    assert statuses["mw"].running
    assert statuses["mw"].process is not None
    assert statuses["mw"].process.pid == pid_of(get_mw_store())
    assert statuses["mw"].restarts is not None
    assert statuses["mw"].stats is not None
    assert not statuses["shared_cache"].running
    assert not statuses["miss_tracker"].running
    assert "did not answer" in statuses["miss_tracker"].reason


class RaisesInStats:
    def stats(self) -> dict[str, int]:
        raise ValueError("no figures today")


class WantsAnArgument:
    def stats(self, argument: int) -> dict[str, int]:
        return {"argument": argument}


class ReturnsText:
    def stats(self) -> str:
        return "fine"


def test_the_status_of_another_namespace_is_not_this_ones(memory: MwManager, elsewhere: Settings) -> None:
    memory.connect()  # its actors are known to this process
    assert [status.running for status in singleton_statuses(elsewhere)] == [False, False, False]


@pytest.mark.parametrize("actor_class", [RaisesInStats, WantsAnArgument, ReturnsText])
def test_an_actor_whose_statistics_fail_still_runs(elsewhere: Settings, actor_class: type) -> None:
    create_actor(Singleton("mw", actor_class), elsewhere)
    wait_until(lambda: singleton_statuses(elsewhere)[-1].running)
    status = singleton_statuses(elsewhere, detailed=True)[-1]
    assert (status.name, status.running, status.stats) == ("mw", True, None)
    assert "stats() " in status.reason


def test_monitor_shows_the_reason_and_fails(cluster: Cluster, settings: Settings) -> None:
    kill_for_good(get_mw_store())
    done = cluster.run("-m", "scripts.monitor_actors")
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert lines[:3] == ["📊 Singleton Actors Status:", "🎭 MissTracker: ✅ Running", "🎭 SharedCache: ✅ Running"]
    assert lines[3].startswith("🎭 MwStore: ❌ ")
    assert len(lines[3]) > len("🎭 MwStore: ❌ ")
    bootstrap_actors()
    done = cluster.run("-m", "scripts.monitor_actors")
    assert done.returncode == 0
    assert done.stdout.splitlines()[3] == "🎭 MwStore: ✅ Running"


def test_monitor_without_a_cluster_says_so(cluster: Cluster) -> None:
    done = cluster.run("-m", "scripts.monitor_actors", RAY_ADDRESS="127.0.0.1:1")
    assert done.returncode == 1
    assert "no Ray head answers at RAY_ADDRESS=127.0.0.1:1" in done.stdout
    assert "Traceback" not in done.stdout
