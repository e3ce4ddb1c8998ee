"""What works on the code while the stack runs: `docker compose watch`, and an editor inside of the API's container."""

import subprocess
from collections.abc import Iterable, Iterator
from typing import Any

import docker
import pytest

from tests.stack.containers import containers, only, run_in
from tests.stack.project import Project
from tests.waiting import wait_until

EDITOR = ("-f", "compose.yaml", "-f", ".devcontainer/compose.yaml")
REBUILD_DEADLINE_S = 240  # pip installs all of it again


@pytest.fixture(scope="module")
def project(engine: docker.DockerClient, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """A running stack with an image of its own."""
    name = "seedcore-test-development"
    project = Project(tmp_path_factory.mktemp("development") / "seedcore", "docker", SEEDCORE_IMAGE=f"{name}:dev")
    try:
        project.make("up")
        yield project
    finally:
        project.remove()
        engine.images.remove(project.environment["SEEDCORE_IMAGE"], force=True)


def test_an_editor_in_the_container_writes_code_that_is_live_at_once(
    engine: docker.DockerClient, project: Project
) -> None:
    settings = (project.folder / ".devcontainer/devcontainer.json").read_text()
    assert '"dockerComposeFile": ["../compose.yaml", "compose.yaml"]' in settings
    assert '"service": "seedcore-api"' in settings
    assert '"workspaceFolder": "/workspace"' in settings
    for file in (project.folder / "seedcore/api").iterdir():
        if file.is_file():
            file.chmod(0o666)  # whoever made this checkout, the editor is the container's user
    done = project.run("docker", "compose", *EDITOR, "up", "--detach", "--wait", "--no-build")
    assert done.returncode == 0, done.stdout
    api = only(engine, project, "seedcore-api")
    models = "/workspace/seedcore/api/models.py"
    run_in(api, "sh", "-c", f"touch $HOME/written && sed s/alive/edited/ {models} >/tmp/new && cat /tmp/new >{models}")
    wait_until(lambda: project.api.get("/healthz").json() == {"status": "edited"})


def test_watch_rebuilds_when_the_lock_file_changes(engine: docker.DockerClient, project: Project) -> None:
    project.make("up")
    project.put("watch", "kept", {"from": "before"})

    def images() -> list[str]:
        services = ("ray-head", "ray-worker", "seedcore-api")
        return [str(one.attrs["Image"]) for service in services for one in containers(engine, project, service)]

    (before,) = set(images())
    # What `make up` has built on, where the default cannot be pulled.
    base_image = engine.images.get(before).labels["org.opencontainers.image.base.name"]
    environment = {**project.environment, "BASE_IMAGE": base_image}
    command = ["docker", "compose", "watch", "--no-up"]
    output: Any = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    watch = subprocess.Popen(command, cwd=project.folder, env=environment, **output)
    try:
        assert watch.stdout is not None
        _read_until("Watch enabled", watch.stdout)
        with (project.folder / "requirements.lock").open("a") as lock:
            lock.write("# changed\n")
        _read_until("successfully built", watch.stdout)
        wait_until(lambda: len(now := images()) == 3 and before not in now, timeout_s=REBUILD_DEADLINE_S)
        project.wait_until_ready()
    finally:
        watch.terminate()
        watch.communicate()
    assert project.get("watch", "kept") == {"from": "before"}


@pytest.mark.timeout(900)  # packages are downloaded and two images built
def test_a_dependency_of_the_application(project: Project) -> None:
    (project.folder / ".venv").unlink()  # the tests' own, which must not get it
    (project.folder / "app/requirements.txt").write_text("numpy<2\n")
    refused = project.run("make", "lock")
    assert refused.returncode != 0
    assert "app/requirements.txt cannot be locked" in refused.stdout
    (project.folder / "app/requirements.txt").write_text("humanize\n")
    project.make("lock")
    (project.folder / "app/jobs").mkdir(exist_ok=True)
    (project.folder / "app/jobs/size.py").write_text("import humanize\n\nprint(humanize.naturalsize(10**6))\n")
    project.make("up")
    assert "1.0 MB" in project.make("run", "M=app.jobs.size")
    assert "❌" not in project.make("doctor")


def _read_until(words: str, output: Iterable[str]) -> None:
    seen = []
    for line in output:
        seen.append(line)
        assert "ailed to" not in line, "".join(seen)  # whatever Compose cannot do, it goes on watching
        if words in line:
            return
    raise AssertionError("".join(seen))
