"""An actor that is busy is not dead, whatever keeps it busy; one that is dead or hangs is not busy."""

import asyncio
import ctypes
import inspect
import re
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import patch

import httpx
import pytest
import ray
from ray.dashboard.modules.task_events.task_event_storage import TaskEventStorage
from ray.util.state import list_tasks

from scripts.monitor_actors import summary
from scripts.verify import Verify
from seedcore import application
from seedcore.api.app import create_app
from seedcore.cluster.bootstrap import bootstrap_actors, create_actor
from seedcore.cluster.singletons import Singleton
from seedcore.cluster.state_api import DRIVER_ENDED, StateApi
from seedcore.cluster.status import ActorStatus, singleton_statuses
from seedcore.errors import BootstrapError
from seedcore.settings import Settings
from tests.cluster.processes import paused
from tests.waiting import POLL_INTERVAL_S, wait_until

DEADLINE_S = 30
GIL_S = 20
QUEUED = 1000
TIMES = 5
QUEUE = re.compile(r"a queue of \d+ calls")
ASKED = "Works.__ray_call__"


class Works:
    def until(self, path: Path) -> None:
        while not path.exists():
            time.sleep(POLL_INTERVAL_S)

    def hold_gil(self) -> None:
        ctypes.PyDLL(None).sleep(GIL_S)

    def shortly(self) -> None:
        time.sleep(POLL_INTERVAL_S)


class WorksInThreads(Works):
    pass


class BlocksItsLoop:
    async def until(self, path: Path) -> None:
        Works().until(path)


class IsBornSlowly:
    def __init__(self, path: Path) -> None:
        Works().until(path)


@pytest.fixture
def end(tmp_path: Path) -> Path:
    """What is awaited by whoever is busy."""
    return tmp_path / "end"


@pytest.fixture
def create(settings: Settings, end: Path) -> Iterator[Callable[..., Any]]:
    """Creates the one singleton of `app/actors.py`, which is gone after the test."""
    module = ModuleType("own_application.actors")
    handles = []

    def create_own(actor_class: type, *, wait: bool = True, **row: Any) -> Any:
        module.SINGLETONS = [Singleton("own", actor_class, **row)]  # type: ignore[attr-defined]
        handles.append(create_actor(module.SINGLETONS[0], settings))
        if wait:
            wait_until(lambda: own(settings).process)
        return handles[0]

    modules = {"own_application": ModuleType("own_application"), module.__name__: module}
    with patch.dict(sys.modules, modules), patch.object(application, "PACKAGE", "own_application"):
        application._load.cache_clear()
        yield create_own
        end.touch()
        for handle in handles:
            ray.kill(handle)
        wait_until(lambda: "own" not in {actor["name"] for actor in ray.util.list_named_actors(all_namespaces=True)})
    application._load.cache_clear()


def own(settings: Settings) -> ActorStatus:
    return singleton_statuses(settings, detailed=True)[-1]


def assert_busy(settings: Settings, call: str) -> None:
    began = time.time()
    # Until the dashboard knows of the call, the process alone tells that it has some.
    while (status := own(settings)).busy is None or QUEUE.fullmatch(status.busy.call):
        assert time.time() < began + DEADLINE_S, status
    assert status.running
    assert status.busy.call == call
    assert began - 60 < status.busy.since <= time.time()
    assert status.reason.startswith("busy since ")
    assert f"🎭 {status.class_name}: ⏳ {status.reason}" in summary([status]).splitlines()


async def test_who_is_busy_with_one_call_is_ready_and_says_since_when(
    create: Callable[..., Any], settings: Settings, end: Path
) -> None:
    done = create(BlocksItsLoop).until.remote(end)
    assert_busy(settings, "BlocksItsLoop.until")
    transport = httpx.ASGITransport(create_app())
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost", timeout=30) as api:
        ready, actors, metrics = await asyncio.gather(*(api.get(path) for path in ("/readyz", "/actors", "/metrics")))
        assert ready.status_code == 200
        assert ready.json()["actors"]["own"]["reason"].startswith("busy since ")
        assert actors.json()["actors"][-1]["busy"]["call"] == "BlocksItsLoop.until"
    assert 'seedcore_actor_up{actor="own"} 1.0' in metrics.text
    assert 'seedcore_actor_busy_seconds{actor="own"}' in metrics.text
    await asyncio.to_thread(end.touch)
    ray.get(done, timeout=60)
    wait_until(lambda: own(settings).process)
    assert own(settings).busy is None


def test_what_a_busy_one_was_asked_is_no_failure(create: Callable[..., Any], settings: Settings, end: Path) -> None:
    create(Works).until.remote(end)
    assert_busy(settings, "Works.until")
    end.touch()
    wait_until(lambda: any(task.name == ASKED for task in list_tasks(filters=[("state", "=", "FAILED")], limit=1000)))
    assert ASKED not in {failure.name for failure in StateApi(settings).failures(1000)}


def test_ray_says_of_a_call_that_its_driver_has_ended_what_is_taken_for_no_failure() -> None:
    assert f'f"{DRIVER_ENDED} (' in inspect.getsource(TaskEventStorage.mark_tasks_failed_on_job_ends)


def test_who_holds_the_interpreter_is_busy(create: Callable[..., Any], settings: Settings) -> None:
    create(Works).hold_gil.remote()
    assert_busy(settings, "Works.hold_gil")


def test_who_has_a_long_queue_is_busy(create: Callable[..., Any], settings: Settings) -> None:
    actor = create(Works)
    for _ in range(QUEUED):
        actor.shortly.remote()
    for _ in range(TIMES):
        busy = own(settings).busy
        assert busy is not None
        assert busy.call == "Works.shortly" or QUEUE.fullmatch(busy.call)


def test_who_is_being_born_is_busy_but_not_yet_bootstrapped(
    create: Callable[..., Any], settings: Settings, end: Path
) -> None:
    create(IsBornSlowly, wait=False, arguments={"path": end})
    assert_busy(settings, "IsBornSlowly.__init__")
    short = settings.model_copy(update={"bootstrap_deadline_s": 3})
    with pytest.raises(BootstrapError, match=r"own: .*busy since .* with IsBornSlowly.__init__"):
        bootstrap_actors(short)


def test_who_is_busy_is_there_for_bootstrap(create: Callable[..., Any], settings: Settings, end: Path) -> None:
    create(Works).until.remote(end)
    assert_busy(settings, "Works.until")
    assert "own" in bootstrap_actors(settings.model_copy(update={"bootstrap_deadline_s": 3}))
    assert "own busy since" in Verify(settings).all_answer()


def test_who_has_a_thread_left_answers(create: Callable[..., Any], settings: Settings, end: Path) -> None:
    actor = create(WorksInThreads, options={"max_concurrency": 2})
    actor.until.remote(end)
    wait_until(lambda: own(settings).process)
    actor.until.remote(end)
    assert_busy(settings, "WorksInThreads.until")


def test_who_hangs_with_nothing_to_do_is_not_busy(create: Callable[..., Any], settings: Settings) -> None:
    with paused(create(Works)):
        status = own(settings)
    assert (status.running, status.busy) == (False, None)
    assert status.reason.startswith("did not answer; it is not busy")


def test_who_died_of_its_call_is_not_busy(create: Callable[..., Any], settings: Settings, end: Path) -> None:
    actor = create(Works)
    actor.until.remote(end)
    assert_busy(settings, "Works.until")
    ray.kill(actor)
    wait_until(lambda: not own(settings).running)
    assert own(settings).busy is None
