"""Logs of tasks and actors as records, and after their container has ended."""

import json
from collections.abc import Iterator

import docker
import pytest

from tests.slow.test_actor_logs import END, PROGRAM
from tests.stack.containers import only, run_in
from tests.stack.project import Project
from tests.waiting import wait_until

pytestmark = pytest.mark.timeout(900)  # the stack starts anew


@pytest.fixture(scope="module")
def heard(project: Project) -> Iterator[Project]:
    """A stack whose logs are records, in which an actor has spoken."""
    project.environment["LOG_FORMAT"] = "json"
    (project.folder / "app/jobs").mkdir(exist_ok=True)
    (project.folder / "app/jobs/speak.py").write_text(PROGRAM)
    (project.folder / "app/jobs/end.py").write_text(END)
    try:
        project.make("up")
        project.make("run", "M=app.jobs.speak", "ARGS=one")
        wait_until(lambda: "said after its death" in [record["message"] for record in records(project)])
        yield project
        project.make("run", "M=app.jobs.end")
    finally:
        del project.environment["LOG_FORMAT"]
        project.make("up")


def records(project: Project) -> list[dict[str, object]]:
    """Of the actor."""
    lines = project.make("logs", "A=counter", "FOLLOW=0").splitlines()
    return [json.loads(line[line.index("{") :]) for line in lines if "{" in line]


def test_what_an_actor_says_is_a_record(heard: Project) -> None:
    said = records(heard)
    assert {record["actor"] for record in said} == {"counter"}
    messages = [record["message"] for record in said]
    assert messages.count("said one") == 1
    assert messages.count("ValueError: on purpose") == 1
    lives = {record["pid"] for record in said if record["message"] == "a life begins"}
    assert len(lives) == 2


def test_what_an_actor_said_outlives_its_container(
    heard: Project, engine: docker.DockerClient, request: pytest.FixtureRequest
) -> None:
    if heard.runtime == "local":
        pytest.skip("the embedded runtime has no containers")
    before = records(heard)
    worker = only(engine, heard, "ray-worker")
    worker.restart()
    heard.wait_until_ready()
    assert records(heard)[: len(before)] == before
    files = "grep --recursive --files-with-matches 'said one' /tmp/ray/session_latest/logs"
    assert "/logs/old/worker-" in run_in(only(engine, heard, "ray-worker"), "bash", "-c", files)
