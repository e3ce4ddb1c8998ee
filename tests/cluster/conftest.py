import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch
from uuid import uuid4

import pytest
import ray

from seedcore import application
from seedcore.cluster.bootstrap import bootstrap_actors
from seedcore.cluster.singletons import singletons
from seedcore.memory.working_memory import MwManager
from seedcore.settings import Settings, load_settings
from tests.cluster.cluster import Cluster
from tests.engines import Server, running_server

HERE = Path(__file__).parent
SMALL_BOUNDS = {"SHARED_CACHE_MAX_ITEMS": "50", "SHARED_CACHE_MAX_BYTES": "400000000", "MISS_TRACKER_MAX_ITEMS": "40"}
SHORT_WAITS = {"LOOKUP_RETRIES": "4", "LOOKUP_BACKOFF_S": "0.1", "LOOKUP_DEADLINE_S": "10"}


@pytest.fixture(autouse=True)
def no_application() -> Iterator[None]:
    """As in the processes of the cluster."""
    with patch.object(application, "PACKAGE", "no_application"):
        yield


@pytest.fixture
def another_cluster(tmp_path: Path) -> Iterator[Cluster]:
    """A cluster for one test, nothing of it started. This process is no driver of it; `run` starts some."""
    with (
        tempfile.TemporaryDirectory(prefix="seedcore-") as run_dir,
        Cluster(tmp_path, Path(run_dir), **SHORT_WAITS) as cluster,
    ):
        yield cluster


@pytest.fixture(scope="package")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """The cluster that all tests of this package share, with this process as a driver of it."""
    with tempfile.TemporaryDirectory(prefix="seedcore-") as run_dir:
        folder = tmp_path_factory.mktemp("cluster")
        with Cluster(folder, Path(run_dir), **SMALL_BOUNDS, **SHORT_WAITS) as cluster:
            cluster.start_head()
            cluster.start_worker()
            with patch.dict(os.environ, cluster.environment):  # what connect() adds to it goes as well
                load_settings.cache_clear()
                yield cluster
                ray.shutdown()
            load_settings.cache_clear()


@pytest.fixture(scope="package")
def valkey(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The server that all tests of this package share, and singletons that tell of it."""
    with running_server(tmp_path_factory.mktemp("valkey")) as server:
        with on_valkey(server) as knobs:
            settings = load_settings()
            environment = {"runtime_env": {"env_vars": knobs}}
            rows = [replace(row, options={**row.options, **environment}) for row in singletons(settings)]
            bootstrap_actors(settings, rows)
        yield server


@contextmanager
def on_valkey(server: Server) -> Iterator[dict[str, str]]:
    """With the memory of this process, and of what it starts, on the server."""
    knobs = {"RAY_NAMESPACE": "on-valkey", "MEMORY_URL": server.url}
    with patch.dict(os.environ, knobs):
        load_settings.cache_clear()
        yield knobs
    load_settings.cache_clear()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """With `--engine=valkey` only those that ask for the engine."""
    if config.getoption("--engine") == "sqlite":
        return
    others = [item for item in items if HERE in item.path.parents and "engine" not in getattr(item, "fixturenames", ())]
    config.hook.pytest_deselected(items=others)
    items[:] = [item for item in items if item not in others]


@pytest.fixture
def engine(request: pytest.FixtureRequest, cluster: Cluster) -> Iterator[str]:
    """Has the memory of this process, and of what it starts, on the engine that `--engine` says.

    What is true of one only has the mark `only_sqlite`, with the reason.
    """
    name: str = request.config.getoption("--engine")
    if name == "sqlite":
        yield name
        return
    if reason := request.node.get_closest_marker("only_sqlite"):
        pytest.skip(reason.args[0])
    with on_valkey(request.getfixturevalue("valkey")):
        yield name


@pytest.fixture
def settings(request: pytest.FixtureRequest, cluster: Cluster) -> Settings:
    """The settings of the shared cluster, in which every singleton lives."""
    if "engine" in request.fixturenames:
        request.getfixturevalue("engine")
    bootstrap_actors()
    return load_settings()


@pytest.fixture
def elsewhere(settings: Settings) -> Iterator[Settings]:
    """The settings of another namespace of the shared cluster; nothing lives there before the test, nor after it."""
    namespace = f"namespace-{uuid4().hex[:8]}"
    yield settings.model_copy(update={"ray_namespace": namespace})
    for actor in ray.util.list_named_actors(all_namespaces=True):
        if actor["namespace"] == namespace:
            ray.kill(ray.get_actor(actor["name"], namespace=namespace))


@pytest.fixture
def memory(settings: Settings) -> MwManager:
    """The working memory of an organ that nobody else uses."""
    return MwManager(f"organ-{uuid4().hex[:8]}")


@pytest.fixture
def item_id() -> str:
    """An item that nobody else uses."""
    return f"item-{uuid4().hex[:8]}"
