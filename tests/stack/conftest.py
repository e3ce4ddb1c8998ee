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
def shared_docker_stack(engine: docker.DockerClient, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    yield from _running(tmp_path_factory, "docker")


@pytest.fixture(scope="session")
def shared_local_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    yield from _running(tmp_path_factory, "local")


@pytest.fixture
def docker_stack(shared_docker_stack: Project) -> Iterator[Project]:
    """The one running stack on Docker that all tests share; each finds it well, with the code of the checkout."""
    yield shared_docker_stack
    shared_docker_stack.as_found()


@pytest.fixture
def local_stack(shared_local_stack: Project) -> Iterator[Project]:
    """The one without Docker, likewise."""
    yield shared_local_stack
    shared_local_stack.as_found()


@pytest.fixture
def stack(request: pytest.FixtureRequest) -> Project:
    """The one of `--runtime`."""
    shared: Project = request.getfixturevalue(f"{request.config.getoption('runtime')}_stack")
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
