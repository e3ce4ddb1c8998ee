from tests.stack.conftest import engine  # noqa: F401 - a fixture
from tests.unit.conftest import knobs, no_application, no_head  # noqa: F401 - fixtures
