"""What only the embedded runtime has: processes that outlive each other on the user's own machine."""

import os
import re
import shutil
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import docker
import psutil
import pytest

from tests.stack.project import Project
from tests.waiting import wait_until


def supervisord(stack: Project) -> psutil.Process:
    """The process that all others of this stack come from."""
    (found,) = [process for process in psutil.process_iter() if is_supervisord(process, stack)]
    return found


def is_supervisord(process: psutil.Process, stack: Project) -> bool:
    try:
        return "supervisor.supervisord" in process.cmdline() and Path(process.cwd()) == stack.folder
    except psutil.Error:  # it has ended
        return False


def session_of(leader: psutil.Process) -> list[psutil.Process]:
    """All processes of the stack."""
    return [process for process in psutil.process_iter() if is_in_session(process, leader.pid)]


def is_in_session(process: psutil.Process, session: int) -> bool:
    try:
        return os.getsid(process.pid) == session and process.status() != psutil.STATUS_ZOMBIE
    except (OSError, psutil.Error):  # it has ended
        return False


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
    down = subprocess.Popen(
        ["make", "down"], cwd=local_stack.folder, env=local_stack.environment, start_new_session=True
    )
    wait_until(lambda: log.read_text().count("waiting for") > before)
    os.killpg(down.pid, signal.SIGINT)
    assert down.wait(60) != 0
    local_stack.make(verb)
    local_stack.make("up")
    assert local_stack.get("interrupted", "item") == verb


def test_the_other_runtime_is_not_taken_for_this_one(local_stack: Project, engine: docker.DockerClient) -> None:
    local_stack.make("up")
    local_stack.put("runtime", "item", "kept")
    for verb in ("down", "clean", "verify"):
        refused = local_stack.run("make", verb, RUNTIME="docker", YES="1")
        assert refused.returncode != 0
        assert "up in the local runtime" in refused.stdout
    assert local_stack.get("runtime", "item") == "kept"


def test_down_leaves_no_process_behind(local_stack: Project) -> None:
    processes = session_of(supervisord(local_stack))
    assert processes
    local_stack.make("down")
    assert psutil.wait_procs(processes, timeout=10)[1] == []
    local_stack.make("up")


def test_logs_that_somebody_deleted_stop_nobody(local_stack: Project) -> None:
    shutil.rmtree(local_stack.folder / ".local/log")
    local_stack.make("restart")
    local_stack.wait_until_ready()


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


def test_a_folder_with_a_space_is_refused(tmp_path: Path) -> None:
    project = Project(tmp_path / "my folder", "local")
    refused = project.run("make", "up")
    assert refused.returncode != 0
    assert "a path with a space in it" in refused.stdout
    assert "Traceback" not in refused.stdout
    project.remove()
