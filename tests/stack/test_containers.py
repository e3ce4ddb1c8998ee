"""What only containers have: health, order, exit codes, users, logs."""

import json
from pathlib import Path
from typing import Any

import docker
import pytest
from docker.models.containers import Container

from tests.checkout import copy_checkout
from tests.stack.containers import LONG_RUNNING, containers, health, only, run_in
from tests.stack.project import Project
from tests.waiting import wait_until

KILL_RAY_CLIENT = """
import psutil

for process in psutil.process_iter(["cmdline", "ppid"]):
    if "ray.util.client.server" in (process.info["cmdline"] or ()) and process.info["ppid"] == 1:
        process.kill()
"""
TASK_THAT_PRINTS = """
import sys, threading
import ray

is_here = threading.Event()

class Watched:
    def __init__(self, stream):
        self.stream = stream

    def __getattr__(self, name):
        return getattr(self.stream, name)

    def write(self, text):
        if "printed by a task" in text:
            is_here.set()
        return self.stream.write(text)

sys.stdout, sys.stderr = Watched(sys.stdout), Watched(sys.stderr)
ray.init(sys.argv[1], namespace="seedcore-dev")

@ray.remote
def task():
    print("printed by", "a task")

ray.get(task.remote())
is_here.wait(60)
"""


@pytest.mark.parametrize("service", LONG_RUNNING)
def test_healthy_and_not_root(engine: docker.DockerClient, docker_stack: Project, service: str) -> None:
    container = only(engine, docker_stack, service)
    assert container.attrs["State"]["Health"]["Status"] == "healthy"
    assert run_in(container, "id", "-u").strip() not in ("", "0")
    status = run_in(container, "cat", "/proc/1/status")
    assert "CapEff:\t0000000000000000" in status
    assert "NoNewPrivs:\t1" in status
    code, _ = container.exec_run(["touch", "/app/seedcore/written"])
    assert code != 0


def test_prometheus_runs_only_for_who_asks_for_it(engine: docker.DockerClient, docker_stack: Project) -> None:
    assert containers(engine, docker_stack, "prometheus") == []


def test_bootstrap_ended_before_the_api_started(engine: docker.DockerClient, docker_stack: Project) -> None:
    bootstrap, api = (only(engine, docker_stack, service) for service in ("bootstrap", "seedcore-api"))
    assert bootstrap.attrs["State"]["ExitCode"] == 0
    assert bootstrap.attrs["State"]["FinishedAt"] < api.attrs["State"]["StartedAt"]
    log = bootstrap.logs().decode()
    assert "Ray initialized: address=ray-head:6379 namespace=seedcore-dev" in log
    assert "miss_tracker=created, shared_cache=created, mw=created" in log


def test_no_secret_in_image_or_environment(engine: docker.DockerClient, docker_stack: Project) -> None:
    token = docker_stack.token
    assert run_in(only(engine, docker_stack, "ray-head"), "cat", "/run/secrets/ray_auth_token") == token
    for service in LONG_RUNNING:
        attributes = only(engine, docker_stack, service).attrs
        assert token not in str(attributes["Config"]["Env"])
    image = only(engine, docker_stack, "ray-head").image
    assert image is not None
    assert token not in str(image.history()) + str(image.attrs)


def test_monitor_works_in_a_container(engine: docker.DockerClient, docker_stack: Project) -> None:
    output = run_in(only(engine, docker_stack, "ray-head"), "python", "-m", "scripts.monitor_actors")
    assert "🎭 MwStore: ✅ Running" in output


def test_what_a_task_prints_reaches_its_driver(engine: docker.DockerClient, docker_stack: Project) -> None:
    api = only(engine, docker_stack, "seedcore-api")
    assert "printed by a task" in run_in(api, "python", "-c", TASK_THAT_PRINTS, "ray://ray-head:10001")


def test_every_part_of_ray_runs(engine: docker.DockerClient, docker_stack: Project) -> None:
    head, worker, api = (_commands(only(engine, docker_stack, service)) for service in LONG_RUNNING)
    assert not any("ray start" in command for command in (*head, *worker, *api))
    assert sum("/monitor.py" in command for command in head) == 1
    for node in (head, worker, api):
        assert sum("log_monitor.py" in command for command in node) == 1
    dashboard = {name.split()[0] for name in head if name.startswith("ray-dashboard-")}
    parts = ("NodeHead", "JobHead", "StateHead", "DataHead", "TrainHead")
    assert {f"ray-dashboard-{part}-0" for part in parts} <= dashboard


def test_a_node_ends_with_any_of_its_processes(engine: docker.DockerClient, docker_stack: Project) -> None:
    head = only(engine, docker_stack, "ray-head")
    before = head.attrs["RestartCount"]
    run_in(head, "python", "-c", KILL_RAY_CLIENT)
    wait_until(lambda: _reloaded(head)["RestartCount"] == before + 1)
    wait_until(lambda: health(head) == "healthy")
    docker_stack.wait_until_ready()


def test_compose_up_by_hand(docker_stack: Project) -> None:
    before = docker_stack.actors()
    done = docker_stack.run("docker", "compose", "up", "-d", "--wait")
    assert done.returncode == 0, done.stdout
    docker_stack.wait_until_ready()
    assert docker_stack.actors() == before


def test_another_folder_does_not_take_the_stack_over(docker_stack: Project, tmp_path: Path) -> None:
    before = docker_stack.actors()
    copy_checkout(tmp_path / "seedcore")
    for verb in ("up", "down", "ps", "restart", "doctor", "clean"):
        done = docker_stack.run("make", f"--directory={tmp_path}/seedcore", verb, "YES=1")
        assert done.returncode != 0
        assert f"the stack '{docker_stack.name}' belongs to {docker_stack.folder}" in done.stdout
        assert "set COMPOSE_PROJECT_NAME, API_PORT and DASHBOARD_PORT" in done.stdout
        assert "Traceback" not in done.stdout
    assert docker_stack.actors() == before


@pytest.mark.parametrize("runtime", ["auto", "docker"])
def test_without_its_engine_no_empty_stack_is_started(docker_stack: Project, runtime: str) -> None:
    done = docker_stack.run("make", "up", RUNTIME=runtime, DOCKER_HOST="unix:///nonexistent/docker.sock")
    assert done.returncode != 0
    assert "no Docker engine answers at unix:///nonexistent/docker.sock" in done.stdout
    assert ("last started on Docker, and its items are there" in done.stdout) is (runtime == "auto")
    assert ("`make up RUNTIME=local` starts another one beside it" in done.stdout) is (runtime == "auto")


def test_on_another_engine_no_empty_stack_is_started(docker_stack: Project) -> None:
    note = next((docker_stack.folder / ".local").glob("started.*.json"))
    other = {**json.loads(note.read_text()), "engine": "tcp://another:2375", "engine_id": "another"}
    # The volume of a stack of this name is not here either.
    (note.parent / "started.elsewhere.json").write_text(json.dumps(other))
    done = docker_stack.run("make", "up", COMPOSE_PROJECT_NAME="elsewhere")
    assert done.returncode != 0
    assert "It was last started on the engine at tcp://another:2375, and now" in done.stdout
    assert "Its items are there." in done.stdout


def _reloaded(container: Container) -> Any:
    container.reload()
    return container.attrs


def _commands(container: Container) -> list[str]:
    return [process[-1] for process in container.top(ps_args="-eo pid,args")["Processes"]]


def test_a_saved_file_of_the_application_makes_no_container_anew(
    engine: docker.DockerClient, docker_stack: Project
) -> None:
    before = {service: only(engine, docker_stack, service).id for service in LONG_RUNNING}
    (docker_stack.folder / "app/notes.py").write_text('"""Mine."""\n')
    docker_stack.make("up")
    assert {service: only(engine, docker_stack, service).id for service in LONG_RUNNING} == before
