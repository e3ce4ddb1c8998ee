from tests.stack.conftest import docker_stack, engine, shared_docker_stack  # noqa: F401 - fixtures
from tests.stack.status_page import browser  # noqa: F401 - a fixture
from tests.unit.conftest import knobs, no_application, no_head  # noqa: F401 - fixtures
