"""Stacks of their own on one engine: beside another, without a bootstrap, stopped by hand."""

from typing import Any

import docker

from tests.stack.containers import LONG_RUNNING, containers, only
from tests.stack.project import Project
from tests.waiting import wait_until

HEALTHY_AGAIN_S = 120.0  # Docker asks every 30 s
STORE_FROM_THE_FUTURE = (
    "import sqlite3; sqlite3.connect('/state/seedcore-dev/mw.sqlite3').execute('PRAGMA user_version = 999')"
)


def test_two_stacks_on_one_engine(docker_stack: Project, docker_project: Project) -> None:
    docker_stack.put("organ", "item", "first")
    docker_project.make("up")
    docker_project.put("organ", "item", "second")
    assert docker_stack.get("organ", "item") == "first"
    assert docker_project.get("organ", "item") == "second"
    assert docker_project.token != docker_stack.token
    docker_project.make("down")
    assert "❌" not in docker_stack.make("verify")


def test_a_failed_bootstrap_keeps_the_api_down_and_says_why(
    engine: docker.DockerClient, docker_project: Project
) -> None:
    docker_project.make("up")
    image = only(engine, docker_project, "ray-head").image
    docker_project.make("down")
    mounted: Any = {f"{docker_project.name}_state": {"bind": "/state", "mode": "rw"}}
    engine.containers.run(
        image, ["-c", STORE_FROM_THE_FUTURE], entrypoint=["python"], volumes=mounted, remove=True, network_mode="none"
    )
    failed = docker_project.run("make", "up")
    assert failed.returncode != 0
    assert "bootstrap" in failed.stdout
    assert "schema version 999" in failed.stdout
    assert "Traceback" not in failed.stdout
    assert all(api.status != "running" for api in containers(engine, docker_project, "seedcore-api"))
    assert "exited" in docker_project.run("make", "ps").stdout.lower()
    failures = docker_project.doctor()
    assert "schema version 999" in docker_project.make("logs", "S=bootstrap", "FOLLOW=0")
    assert "get it with `git pull` or `copier update`" in failures["bootstrap's last run"]


def test_a_stack_moves_with_its_folder(docker_project: Project) -> None:
    docker_project.make("up")
    docker_project.put("organ", "item", "moved")
    docker_project.folder = docker_project.folder.rename(docker_project.folder.with_name("elsewhere"))
    ((check, said),) = docker_project.doctor().items()  # it looks at the containers of the folder that is gone
    assert check == "the services run with the settings of .env"
    assert f"is now {docker_project.folder}" in said
    assert said.endswith("`make up` applies it.")
    docker_project.make("up")
    assert docker_project.get("organ", "item") == "moved"
    assert docker_project.doctor() == {}


def test_stop_is_graceful_and_start_brings_it_back(engine: docker.DockerClient, docker_stack: Project) -> None:
    docker_stack.put("stop", "item", 1)
    stopped = docker_stack.run("docker", "compose", "stop")
    assert stopped.returncode == 0, stopped.stdout
    codes = {service: only(engine, docker_stack, service).attrs["State"]["ExitCode"] for service in LONG_RUNNING}
    assert set(codes.values()) <= {0, 143}, codes
    docker_stack.make("up")
    assert docker_stack.get("stop", "item") == 1


def test_doctor_names_a_service_that_is_paused(engine: docker.DockerClient, docker_stack: Project) -> None:
    worker = only(engine, docker_stack, "ray-worker")
    failures = docker_stack.doctor_between(worker.pause, worker.unpause)
    assert "ray-worker is paused: `docker compose unpause`" in failures["every service is well"]
    assert "did not answer" in failures["every singleton answers"]
    docker_stack.wait_until_ready()
    wait_until(lambda: docker_stack.doctor() == {}, HEALTHY_AGAIN_S)


def test_doctor_names_a_head_that_is_dead(engine: docker.DockerClient, docker_stack: Project) -> None:
    head = only(engine, docker_stack, "ray-head")
    failures = docker_stack.doctor_between(head.stop, head.start)
    assert "ray-head exited with exit code 0" in failures["every service is well"]
    assert "no Ray head answers at RAY_ADDRESS=ray-head:6379" in failures["the cluster"]
    wait_until(lambda: docker_stack.doctor() == {}, HEALTHY_AGAIN_S)
    docker_stack.wait_until_ready()
