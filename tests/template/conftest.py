from tests.stack.conftest import engine  # noqa: F401 - a fixture
from tests.unit.conftest import knobs  # noqa: F401 - a fixture
