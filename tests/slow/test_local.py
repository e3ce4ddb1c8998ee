"""What only the embedded runtime has: processes that outlive each other on the user's own machine."""

import shutil
import signal
import venv
from pathlib import Path

import docker
import psutil
from playwright.sync_api import Browser, expect

from tests.stack.local_processes import session_of, supervisord
from tests.stack.project import Project
from tests.stack.status_page import actors, cell, look_up, opened


def test_the_other_runtime_is_not_taken_for_this_one(local_stack: Project, engine: docker.DockerClient) -> None:
    local_stack.make("up")
    local_stack.put("runtime", "item", "kept")
    for verb in ("down", "clean", "verify"):
        refused = local_stack.run("make", verb, "RUNTIME=docker", "YES=1")
        assert refused.returncode != 0
        assert "up without Docker (RUNTIME=local): add RUNTIME=local" in refused.stdout
    assert local_stack.get("runtime", "item") == "kept"


def test_prometheus_is_for_docker_only_and_asking_for_it_changes_nothing(local_stack: Project) -> None:
    before = local_stack.actors()
    assert "Prometheus not started: it runs on Docker only" in local_stack.make("up", COMPOSE_PROFILES="observability")
    assert local_stack.actors() == before


def test_down_leaves_no_process_behind(local_stack: Project) -> None:
    processes = session_of(supervisord(local_stack))
    assert processes
    local_stack.make("down")
    assert psutil.wait_procs(processes, timeout=10)[1] == []
    local_stack.make("up")


def test_ray_can_interrupt_a_task(local_stack: Project) -> None:
    raylets = [process for process in session_of(supervisord(local_stack)) if process.name() == "raylet"]
    assert raylets
    for process in raylets:  # its workers inherit it
        ignored = Path(f"/proc/{process.pid}/status").read_text().partition("SigIgn:")[2].split()[0]
        assert not int(ignored, 16) & 1 << signal.SIGINT - 1


def test_logs_that_somebody_deleted_stop_nobody(local_stack: Project) -> None:
    shutil.rmtree(local_stack.folder / ".local/log")
    local_stack.make("restart")
    local_stack.wait_until_ready()


def test_a_folder_with_a_space_is_refused(tmp_path: Path) -> None:
    project = Project(tmp_path / "my folder", "local")
    environment = project.folder / ".venv"  # Ray starts from it; the one that tests share has no space in its path
    packages = next(environment.resolve().glob("lib/python*/site-packages"))
    environment.unlink()
    venv.create(environment)
    (next(environment.glob("lib/python*/site-packages")) / "shared.pth").write_text(f"{packages}\n")
    (environment / "installed").touch()
    refused = project.run("make", "up")
    assert refused.returncode != 0
    assert "a path with a space in it" in refused.stdout
    assert "Traceback" not in refused.stdout
    project.remove()


def test_the_same_page(browser: Browser, local_stack: Project, tmp_path: Path) -> None:
    with opened(browser, local_stack, tmp_path) as page:
        for actor in actors(local_stack).values():
            expect(cell(page, actor, "PID")).to_have_text(str(actor["pid"]))
        local_stack.put("local", "item", [1, 2])
        expect(look_up(page, "local", "item")).to_have_text('"item" is an item of local.')
