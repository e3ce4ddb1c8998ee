import pytest

from tests.cluster.conftest import another_cluster  # noqa: F401 - fixtures
from tests.stack.conftest import (  # noqa: F401 - fixtures
    docker_project,
    docker_stack,
    engine,
    local_stack,
    shared_docker_stack,
    shared_local_stack,
    stack,
)
from tests.stack.project import Project
from tests.stack.status_page import browser  # noqa: F401 - a fixture

# These build images anew, through the proxy that the shell names.
Project.shell = {name: value for name, value in Project.shell.items() if not name.lower().endswith("_proxy")}


@pytest.fixture(scope="module", params=["docker", "local"])
def project(request: pytest.FixtureRequest) -> Project:
    """A stack of each runtime, one after the other, shared with the other modules."""
    shared: Project = request.getfixturevalue(f"shared_{request.param}_stack")
    return shared
