"""Verbs that take long, on the real stack of one runtime: see `--runtime`."""

import re
import threading
from typing import Any, Self

import httpx
import pytest

from tests.stack.project import Project
from tests.stack.test_verbs import ROUTES
from tests.waiting import wait_until

MW_STORE = "seedcore/actors/mw_store.py"
CONSTRUCTOR = '            self._keeper = ItemKeeper("MwStore", settings, items)\n'
ACTORS = '''"""Mine."""

import os

from seedcore import Singleton


class Counter:
    def __init__(self, step: int) -> None:
        self._step, self._count = step, 0

    def add(self) -> int:
        self._count += self._step
        return self._count

    def stats(self) -> dict[str, int]:
        return {"count": self._count}


SINGLETONS = [Singleton("counter", Counter, {"step": 2})]
'''
JOB = '''"""Mine."""

import os
import sys

import ray

ray.init()
print(os.environ["MY_TOKEN"], ray.get(ray.get_actor("counter").add.remote()), *sys.argv[1:])
sys.exit(7)
'''


class Load:
    """Writes and reads through the API, one request after the other."""

    def __init__(self, stack: Project) -> None:
        self._stack = stack
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.failed: list[str] = []
        self.succeeded = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        with httpx.Client(base_url=self._stack.api.base_url, timeout=60) as client:
            while not self._stop.is_set():
                try:
                    path = "/organs/load/items/item"
                    client.put(path, json={"value": self.succeeded}).raise_for_status()
                    if (read := client.get(path).raise_for_status().json()["value"]) != self.succeeded:
                        self.failed.append(f"wrote {self.succeeded}, read {read}")
                    self.succeeded += 1
                except httpx.HTTPError as error:
                    self.failed.append(repr(error))


def test_scale(stack: Project) -> None:
    def nodes() -> int:
        return sum(node["alive"] for node in stack.api.get("/status").json()["nodes"])

    before = nodes()
    stack.make("scale", "N=2")
    assert nodes() == before + 1
    assert f"on {before + 1} node(s)" in stack.make("verify")
    stack.make("scale", "N=1")
    wait_until(lambda: nodes() == before, timeout_s=60)
    assert f"on {before} node(s)" in stack.make("verify")
    assert stack.run("make", "scale", "N=0").returncode == 2
    assert "N=0 is not allowed: 1 to 8" in stack.run("make", "scale", "N=0").stdout


def test_changed_code_of_an_actor_is_noticed_and_reloaded_without_a_failed_request(stack: Project) -> None:
    stack.put("reload", "kept", {"from": "before"})
    before = stack.actors()
    with (stack.folder / MW_STORE).open("a") as file:
        file.write("        # changed, and nothing else\n")
    wait_until(lambda: code_of(stack, "mw").get("stale") and not stack.api.get("/actors").json()["code"]["stale"])
    assert code_of(stack, "mw")["changed"] == ["seedcore.actors.mw_store"]
    assert not code_of(stack, "miss_tracker")["stale"]
    refused = stack.run("make", "verify")
    assert refused.returncode != 0
    for said in (refused.stdout, stack.make("monitor")):
        assert "runs older code than is on the disk (seedcore.actors.mw_store changed)" in said
        assert "make reload-actors" in said

    after = _reload(stack, "restarted")
    assert after.pop("mw") != before.pop("mw")
    assert after == before
    assert stack.get("reload", "kept") == {"from": "before"}
    assert "❌" not in stack.make("verify")
    assert "every singleton runs the code on the disk" in stack.make("reload-actors")


def test_new_methods_of_an_actor_are_there_after_a_reload(stack: Project) -> None:
    stack.put("reload", "kept", {"from": "before"})
    add_to_mw_store(
        stack, '    def stats(self) -> dict[str, float]:\n        return {**super().stats(), "reloaded": 1.0}\n'
    )
    wait_until(lambda: code_of(stack, "mw").get("stale") and not stack.api.get("/actors").json()["code"]["stale"])
    _reload(stack, "created anew, for its methods are others")
    assert next(a for a in stack.api.get("/actors").json()["actors"] if a["name"] == "mw")["stats"]["reloaded"] == 1
    assert stack.get("reload", "kept") == {"from": "before"}
    assert "❌" not in stack.make("verify")


def test_down_and_up_keep_the_items(stack: Project) -> None:
    stack.put("down", "item", [1, 2.5, None, "Grüße"])
    answer = stack.api.put("/shared-items/down", json={"value": "shared"})
    assert answer.status_code == 200
    for verb in ("down", "down"):  # the second finds nothing to stop, and says so
        stack.make(verb)
    with pytest.raises(httpx.TransportError):
        stack.api.get("/healthz")
    refused = stack.run("make", "verify")
    assert refused.returncode != 0
    assert "make up" in refused.stdout
    stack.make("up")
    assert stack.get("down", "item") == [1, 2.5, None, "Grüße"]
    assert stack.api.get("/shared-items/down").json()["value"] == "shared"
    assert "❌" not in stack.make("verify")


def test_an_application_of_ones_own(stack: Project) -> None:
    application = stack.folder / "app"
    (stack.folder / ".env.local").write_text("MY_TOKEN=secret of mine\n")
    stack.make("up")
    before = stack.actors()
    (application / "actors.py").write_text(ACTORS.replace('{"step": 2}', '{"stop": 2}'))
    for verb in ("reload-actors", "monitor", "verify", "up"):
        refused = stack.run("make", verb)
        assert refused.returncode != 0
        assert "Counter does not take {'stop': 2}: missing a required argument: 'step'" in refused.stdout
        assert "(app/actors.py, line " in refused.stdout
        assert "Traceback" not in refused.stdout
    assert stack.actors() == before
    assert "the services run with the settings of .env" not in stack.doctor()
    stack.put("own", "item", "the API goes on")

    (application / "actors.py").write_text(ACTORS)
    stack.make("reload-actors")
    wait_until(lambda: "counter" in stack.api.get("/readyz").json()["actors"])
    stack.wait_until_ready()
    counter = next(actor for actor in stack.api.get("/actors").json()["actors"] if actor["name"] == "counter")
    assert counter["stats"] == {"count": 0}
    assert 'seedcore_actor_count{actor="counter"} 0.0' in stack.api.get("/metrics").text
    assert "counter" in {actor["name"] for actor in stack.api.get("/status").json()["actors"]}
    assert "🎭 Counter: ✅ Running" in stack.make("monitor")
    assert "counter=reused" in stack.make("bootstrap")

    (application / "routes.py").write_text(ROUTES)
    wait_until(lambda: "/mine/count" in stack.api.get("/openapi.json").json()["paths"])
    stack.wait_until_ready()
    assert stack.api.post("/mine/count").status_code == 403
    assert stack.api.post("/mine/count", params={"token": "secret of mine"}).json() == 2

    (application / "jobs").mkdir(exist_ok=True)
    (application / "jobs/mine.py").write_text(JOB)
    done = stack.run("make", "run", "M=app.jobs.mine", 'ARGS=--flag "two words"')
    assert "secret of mine 4 --flag two words" in done.stdout
    assert "Error 7" in done.stdout
    assert "❌" not in stack.make("verify")
    assert "and of your own MY_TOKEN" in stack.make("doctor")


def _reload(stack: Project, how: str) -> dict[str, tuple[str, int]]:
    """Reload `mw` under load; the actors after that."""
    with Load(stack) as load:
        output = stack.make("reload-actors")
    assert load.failed == []
    assert load.succeeded > 20
    assert re.findall(r"✅ (\w+): (.*?), pid", output) == [("mw", how)]
    return stack.actors()


def test_broken_code_takes_nothing_down(stack: Project) -> None:
    stack.put("broken", "kept", 1)
    before = stack.actors()
    good = add_to_mw_store(stack, "    def broken(:\n")
    for verb in ("reload-actors", "monitor"):
        refused = stack.run("make", verb)
        assert refused.returncode != 0
        assert re.search(r"seedcore/actors/mw_store.py, line \d+: invalid syntax", refused.stdout)
        assert "Traceback" not in refused.stdout
    assert stack.actors() == before
    stack.put("broken", "later", 2)

    (stack.folder / MW_STORE).write_text(
        good.replace(CONSTRUCTOR, f"{CONSTRUCTOR}        raise ValueError('not today')\n")
    )
    refused = stack.run("make", "reload-actors")
    assert refused.returncode != 0
    assert "nothing was restarted, the old code goes on serving. mw: ValueError: not today" in refused.stdout
    assert "Traceback" not in refused.stdout
    assert stack.actors() == before
    assert [stack.get("broken", "kept"), stack.get("broken", "later")] == [1, 2]

    (stack.folder / MW_STORE).write_text(good)
    wait_until(lambda: code_of(stack, "mw").get("stale") is False)
    assert "❌" not in stack.make("verify")


def code_of(stack: Project, name: str) -> dict[str, Any]:
    actors = stack.api.get("/actors").json()["actors"]
    # None while the API, just reloaded, is connecting to Ray.
    code: dict[str, Any] = next(actor for actor in actors if actor["name"] == name)["code"] or {}
    return code


def add_to_mw_store(stack: Project, code: str) -> str:
    """Add to the end of the class; what was there before."""
    good = (stack.folder / MW_STORE).read_text()
    (stack.folder / MW_STORE).write_text(f"{good}\n{code}")
    return good


def test_a_start_that_fails_shows_what_that_start_said(stack: Project) -> None:
    actors = stack.folder / "app/actors.py"
    before = actors.read_text() if actors.exists() else None
    stack.make("down")
    for missing in ("nothing", "nowhere"):
        actors.write_text(f"import {missing}\n")
        refused = stack.run("make", "up")
        assert refused.returncode != 0
        assert f"No module named '{missing}'" in refused.stdout
    assert "'nothing'" not in refused.stdout
    if before is None:
        actors.unlink()
    else:
        actors.write_text(before)
    stack.make("up")
    assert stack.doctor() == {}


UNBORN = """
from seedcore import Singleton


class Unborn:
    def __init__(self) -> None:
        raise ValueError("not today")


SINGLETONS = [Singleton("unborn", Unborn)]
"""


def test_all_else_runs_without_an_actor_that_cannot_be_born(stack: Project) -> None:
    actors = stack.folder / "app/actors.py"
    stack.put("unborn", "item", "kept")
    stack.make("down")
    actors.write_text(UNBORN)
    refused = stack.run("make", "up", "KEY_MAX_LENGTH=100")
    assert refused.returncode != 0
    assert "was started with (100)" in stack.run("make", "bootstrap", "KEY_MAX_LENGTH=200").stdout
    assert re.search(r"unborn: ValueError: not today \(app/actors.py, line \d+\)", refused.stdout), refused.stdout
    assert "All else runs, the API as well" in refused.stdout
    assert "Traceback" not in refused.stdout
    assert "Recreate" not in refused.stdout  # a container of the API that is as it should be
    wait_until(lambda: is_answered(stack))
    assert stack.get("unborn", "item") == "kept"
    stack.put("unborn", "item", "changed")
    assert "run `make bootstrap`" in stack.api.get("/readyz").json()["actors"]["unborn"]["reason"]

    actors.write_text(UNBORN.replace('raise ValueError("not today")', "pass"))
    stack.make("bootstrap")
    stack.wait_until_ready()
    assert stack.get("unborn", "item") == "changed"
    assert "❌" not in stack.make("verify")
    stack.make("up")  # without the knob of this test


def is_answered(stack: Project) -> bool:
    try:
        return stack.api.get("/readyz").status_code == httpx.codes.SERVICE_UNAVAILABLE
    except httpx.TransportError:
        return False


OLDER = '''
import ray
from fastapi import APIRouter
from seedcore import Singleton, get_singleton


class Greeter:
    def greet(self, name: str) -> str:
        return f"Hello, {name}"

    def called_otherwise_soon(self) -> None:
        """To be renamed."""


router = APIRouter()


@router.get("/greetings/{name}")
def greeting(name: str) -> str:
    return ray.get(get_singleton("greeter").greet.remote(name))


SINGLETONS = [Singleton("greeter", Greeter)]
'''


def test_an_actor_whose_method_was_renamed_goes_on_until_it_is_reloaded(stack: Project) -> None:
    actors = stack.folder / "app/actors.py"
    actors.write_text(OLDER)
    (stack.folder / "app/routes.py").write_text("from app.actors import router as router\n")
    stack.make("up")
    stack.make("bootstrap")
    wait_until(lambda: stack.api.get("/greetings/Ada").json() == "Hello, Ada")
    actors.write_text(OLDER.replace("called_otherwise_soon", "called_otherwise").replace("Hello", "Good evening"))
    wait_until(lambda: code_of(stack, "greeter").get("stale") and not stack.api.get("/actors").json()["code"]["stale"])
    assert stack.api.get("/readyz").status_code == httpx.codes.OK
    assert stack.api.get("/greetings/Ada").json() == "Hello, Ada"
    assert "greeter: created anew, for its methods are others" in stack.make("reload-actors")
    assert stack.api.get("/greetings/Ada").json() == "Good evening, Ada"


REMEMBERING = """
import ray

from fastapi import APIRouter
from seedcore import MwManager, Singleton, get_singleton


class Visits:
    def __init__(self) -> None:
        self._memory = MwManager("visits")
        self._count = self._memory.get_item("count", default=0)

    def add(self) -> int:
        self._count += 1
        self._memory.set_item("count", self._count)
        return self._count


router = APIRouter()


@router.post("/visits")
def visit() -> int:
    return ray.get(get_singleton("visits").add.remote())


SINGLETONS = [Singleton("visits", Visits)]
"""


def test_what_an_actor_remembers_is_not_written_over_a_backup(stack: Project) -> None:
    (stack.folder / "app/actors.py").write_text(REMEMBERING)
    (stack.folder / "app/routes.py").write_text("from app.actors import router as router\n")
    stack.make("up")
    stack.make("bootstrap")
    wait_until(lambda: stack.api.post("/visits").json() == 1)
    stack.make("backup", "FILE=early.tar")
    while stack.api.post("/visits").json() < 500:
        pass
    answered = [500]
    stop = threading.Event()

    def visit() -> None:
        while not stop.is_set():
            answer = stack.api.post("/visits", timeout=60)
            if answer.status_code == httpx.codes.OK:
                answered.append(answer.json())

    thread = threading.Thread(target=visit)
    thread.start()
    try:
        stack.make("restore", "FILE=early.tar", "YES=1")
        wait_until(lambda: fell(answered))
    finally:
        stop.set()
        thread.join()
    (restored,) = fell(answered)
    assert answered[restored] < 10  # on from the one of the backup; a call that a restart repeats counts twice
    assert stack.get("visits", "count") == answered[-1]


def fell(counts: list[int]) -> list[int]:
    """Where one is less than the one before."""
    return [place for place, count in enumerate(counts) if place and count < counts[place - 1]]
