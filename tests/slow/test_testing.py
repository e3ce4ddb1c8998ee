"""`seedcore.testing`, as an application uses it."""

import os
import subprocess
import sys
from pathlib import Path
from uuid import uuid4

import psutil

from seedcore.settings import PROJECT_ROOT

DEADLINE_S = 200
NOWHERE = {"MEMORY_URL": "valkey://127.0.0.1:1"}  # tests of an application leave the engine of its stack alone
TESTS = """
import os

from seedcore import MwManager, get_singleton


def test_the_environment_is_left_alone(ray_cluster):
    assert os.environ["RAY_NAMESPACE"] == "of-the-shell"
    assert "RAY_AUTH_MODE" not in os.environ
    assert os.environ["PYTHONPATH"] == "WHERE"


def test_fails(singletons):
    MwManager("organ").set_item("item", "of a test that fails")
    assert get_singleton("mw")._actor_id == singletons["mw"]._actor_id
    raise ValueError("it fails")


def test_begins_with_nothing(singletons):
    assert MwManager("organ").get_item("item") is None


def test_fails_without_ray(memory_without_ray):
    MwManager("organ").set_item("item", 1)
    raise ValueError("it fails")


async def test_begins_with_nothing_without_ray(memory_without_ray):
    memory = MwManager("organ")
    assert await memory.get_item_async("item") is None
    await memory.set_item_async("item", [1])
    assert await memory.get_item_async("item") == [1]
    await memory.set_global_item_async("shared", 2)
    assert await MwManager("another").get_item_async("shared") == 2
    assert [hot.item_id for hot in await memory.get_hot_items_async(1)] == ["item"]


def test_the_api(api):
    assert api.get("/readyz").status_code == 200
    api.put("/organs/organ/items/item", json={"value": 1}).raise_for_status()
    assert MwManager("organ").get_item("item") == 1
"""


def processes_with(mark: str) -> list[int]:
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("MARK") == mark:
                found.append(process.pid)
        except psutil.Error:
            continue
    return found


def test_a_test_finds_nothing_of_the_one_before_and_nothing_is_left_behind(tmp_path: Path) -> None:
    (tmp_path / "test_application.py").write_text(TESTS.replace("WHERE", str(PROJECT_ROOT)))
    mark = uuid4().hex
    without_auth = {name: value for name, value in os.environ.items() if name != "RAY_AUTH_MODE"}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "seedcore.testing", "--asyncio-mode=auto", "-q", str(tmp_path)],
        cwd=tmp_path,
        env={**without_auth, "PYTHONPATH": str(PROJECT_ROOT), "MARK": mark, "RAY_NAMESPACE": "of-the-shell", **NOWHERE},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert "2 failed, 4 passed" in done.stdout, done.stdout
    assert processes_with(mark) == []
