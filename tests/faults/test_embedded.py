"""What the embedded runtime must outlive: its processes are killed, its verbs interrupted."""

import os
import re
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.stack.local_processes import session_of, supervisord
from tests.stack.project import Project
from tests.waiting import wait_until


def head_pid(stack: Project) -> int:
    found = re.search(r"ray-head +running +pid (\d+)", stack.make("ps"))
    return int(found[1]) if found else 0


def test_a_killed_control_plane_comes_back_with_the_same_actors(local_stack: Project) -> None:
    local_stack.put("head", "item", "before")
    actors, head = local_stack.actors(), head_pid(local_stack)
    (gcs,) = [process for process in session_of(supervisord(local_stack)) if process.name() == "gcs_server"]
    gcs.kill()
    local_stack.put("head", "item", "while it is dead")
    wait_until(lambda: head_pid(local_stack) not in (0, head))
    wait_until(lambda: local_stack.run("make", "verify").returncode == 0)
    assert local_stack.get("head", "item") == "while it is dead"
    assert local_stack.actors() == actors


def test_up_after_supervisord_was_killed(local_stack: Project) -> None:
    local_stack.put("supervisord", "item", "kept")
    supervisord(local_stack).kill()
    assert "make up" in local_stack.run("make", "verify").stdout
    local_stack.make("up")
    assert local_stack.get("supervisord", "item") == "kept"
    local_stack.make("verify")


def test_up_after_everything_was_killed_but_what_ray_hides(local_stack: Project) -> None:
    local_stack.put("power", "item", "kept")
    for process in session_of(supervisord(local_stack)):
        if process.name() != "ray::DashboardA":
            process.send_signal(signal.SIGKILL)
    local_stack.make("up")
    assert local_stack.get("power", "item") == "kept"
    local_stack.make("verify")


def test_two_ups_at_once(local_stack: Project) -> None:
    local_stack.put("twice", "item", "kept")
    local_stack.make("down")
    with ThreadPoolExecutor(2) as pool:
        outputs = list(pool.map(local_stack.make, ["up", "up"]))
    assert sum("waiting for another verb" in output for output in outputs) == 1
    assert local_stack.get("twice", "item") == "kept"
    local_stack.make("verify")


@pytest.mark.parametrize("verb", ["down", "up"])
def test_a_verb_after_an_interrupted_down(local_stack: Project, verb: str) -> None:
    local_stack.make("up")
    local_stack.put("interrupted", "item", verb)
    log = local_stack.folder / f".local/log/{local_stack.name}/supervisord.log"
    before = log.read_text().count("waiting for")  # its words when it stops its programs
    # A test run in the background of a shell ignores the interrupt, and what it starts would as well.
    down = subprocess.Popen(
        ["env", "--default-signal=INT", "make", "down"],
        cwd=local_stack.folder,
        env=local_stack.environment,
        start_new_session=True,
    )
    wait_until(lambda: log.read_text().count("waiting for") > before)
    os.killpg(down.pid, signal.SIGINT)
    assert down.wait(60) != 0
    local_stack.make(verb)
    local_stack.make("up")
    assert local_stack.get("interrupted", "item") == verb


def test_rotate_token_keeps_the_items_and_ends_the_old_token(local_stack: Project) -> None:
    old = local_stack.token
    local_stack.put("rotate", "item", "kept")
    output = local_stack.make("rotate-token")
    assert "the dashboard asks for the new token" in output
    assert local_stack.token != old
    assert local_stack.token not in output
    assert (local_stack.dashboard_status(local_stack.token), local_stack.dashboard_status(old)) == (200, 403)
    assert local_stack.get("rotate", "item") == "kept"
    assert "❌" not in local_stack.make("verify")


def test_up_goes_on_with_the_new_token_after_a_rotation_was_killed(local_stack: Project) -> None:
    old = local_stack.token
    local_stack.put("rotate", "item", "kept as well")
    verb = subprocess.Popen(
        ["make", "rotate-token"], cwd=local_stack.folder, env=local_stack.environment, start_new_session=True
    )
    wait_until(lambda: local_stack.token != old)
    os.killpg(verb.pid, signal.SIGKILL)
    verb.wait(60)
    local_stack.make("up")
    assert (local_stack.dashboard_status(local_stack.token), local_stack.dashboard_status(old)) == (200, 403)
    assert local_stack.get("rotate", "item") == "kept as well"


def test_two_stacks_in_one_checkout_have_items_of_their_own(local_stack: Project, tmp_path: Path) -> None:
    local_stack.put("precious", "item", "of the first")
    actors = local_stack.actors()
    second = Project(tmp_path / "seedcore", "local")
    second.folder = local_stack.folder
    try:
        second.make("up")
        second.put("precious", "item", "of the second")
        assert local_stack.get("precious", "item") == "of the first"
    finally:
        second.remove()  # make clean
    assert local_stack.actors() == actors
    local_stack.make("down")
    local_stack.make("up")
    assert local_stack.get("precious", "item") == "of the first"
