import os
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest
from docker.errors import DockerException

from tests.stack.project import Project


@pytest.fixture(scope="session")
def engine() -> Iterator[docker.DockerClient]:
    """The Docker Engine; without one the tests that need it are skipped, or fail where SEEDCORE_REQUIRE_DOCKER=1."""
    try:
        client = docker.from_env()
        client.ping()
    except DockerException as error:
        if os.environ.get("SEEDCORE_REQUIRE_DOCKER") == "1":
            pytest.fail(f"SEEDCORE_REQUIRE_DOCKER=1, but no Docker Engine answers: {error}")
        pytest.skip(f"no Docker Engine answers: {error}")
    yield client
    client.close()


@pytest.fixture(scope="session")
def docker_stack(engine: docker.DockerClient, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """The one running stack on Docker that all tests share; each leaves it as it found it."""
    yield from _running(tmp_path_factory, "docker")


@pytest.fixture(scope="session")
def local_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """The one without Docker, likewise."""
    yield from _running(tmp_path_factory, "local")


@pytest.fixture(params=["docker", "local"])
def stack(request: pytest.FixtureRequest) -> Project:
    """Each of the two."""
    shared: Project = request.getfixturevalue(f"{request.param}_stack")
    return shared


@pytest.fixture
def docker_project(engine: docker.DockerClient, tmp_path: Path) -> Iterator[Project]:
    """A project of its own for Docker, not up."""
    project = Project(tmp_path / "seedcore", "docker")
    yield project
    project.remove()


def _running(tmp_path_factory: pytest.TempPathFactory, runtime: str) -> Iterator[Project]:
    project = Project(tmp_path_factory.mktemp(runtime) / "seedcore", runtime)
    try:
        project.make("up")
        yield project
    finally:
        project.remove()
