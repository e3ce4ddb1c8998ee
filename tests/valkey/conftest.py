from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from seedcore.memory.engines import end_memory
from seedcore.memory.working_memory import MwManager
from seedcore.settings import load_settings
from tests.engines import Server, running_server
from tests.unit.conftest import no_application  # noqa: F401 - a fixture

SHORT_DEADLINE_S = "3"  # for what is refused, or does not answer at all

Connect = Callable[..., MwManager]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A server that nobody else uses."""
    with running_server(tmp_path / "server") as server:
        yield server


@pytest.fixture
def connect(monkeypatch: pytest.MonkeyPatch) -> Iterator[Connect]:
    """Makes a manager whose memory is at a URL, with further knobs. No Ray is needed."""

    def connect(url: str, organ_id: str = "organ", **knobs: str) -> MwManager:
        for name, value in {"MEMORY_URL": url, **knobs}.items():
            monkeypatch.setenv(name, value)
        load_settings.cache_clear()
        return MwManager(organ_id)

    yield connect
    end_memory(load_settings())
    load_settings.cache_clear()


@pytest.fixture
def memory(server: Server, connect: Connect) -> MwManager:
    """A manager on that server."""
    return connect(server.url)
