"""A pytest plugin for tests of an application: `pytest -p seedcore.testing`.

`memory_without_ray` is for tests in milliseconds: each `MwManager` of the test works, without a cluster. `singletons`
is for tests of the whole: a cluster on this machine that all tests of a session share, and in it the singletons of one
test, in a namespace of its own. `api` is a client of the HTTP API that uses them. What a test remembers is in files,
whatever `MEMORY_URL` says, and gone after it, whether it passed or failed.
"""

import logging
import os
import secrets
import shutil
import warnings
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from unittest.mock import patch

import pytest

from seedcore.actors.calls import Call, pack_calls
from seedcore.ray_environment import export_ray_environment
from seedcore.settings import PROJECT_ROOT, Settings, load_settings

if TYPE_CHECKING:
    import httpx

# What imports Ray is imported by the fixtures: it takes a second, which only those pay who need it.
CPUS: Final = 2  # of the cluster; tasks wait for one, singletons take none
OBJECT_STORE_BYTES: Final = 100_000_000


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[str]:
    """The address of a cluster on this machine, which ends with the session."""
    from ray.cluster_utils import Cluster

    with _environment(RAY_AUTH_MODE="disabled", PYTHONPATH=_python_path()):
        export_ray_environment(load_settings())
        resources = {load_settings().state_resource: 1000}
        node = {"num_cpus": CPUS, "resources": resources, "object_store_memory": OBJECT_STORE_BYTES}
        cluster = Cluster(initialize_head=True, head_node_args={**node, "include_dashboard": False})
    try:
        yield cluster.address
    finally:
        cluster.shutdown()  # type: ignore[no-untyped-call]


@pytest.fixture
def singletons(ray_cluster: str, tmp_path: Path) -> Iterator[dict[str, Any]]:
    """The handles of all singletons by name, yours as well, alive for one test, with this process as a driver."""
    import ray

    from seedcore.cluster.bootstrap import bootstrap_actors
    from seedcore.cluster.connection import reload_ray_configuration
    from seedcore.memory.engines import end_memory

    knobs = {
        "RAY_ADDRESS": ray_cluster,
        "RAY_NAMESPACE": f"test-{secrets.token_hex(4)}",
        "STATE_DIR": str(tmp_path / "state"),
        "MEMORY_URL": "",
        "RAY_AUTH_MODE": "disabled",
    }
    with _environment(**knobs):
        settings = load_settings()
        export_ray_environment(settings)
        reload_ray_configuration()
        ray.init(
            settings.ray_address,
            namespace=settings.ray_namespace,
            runtime_env={"env_vars": knobs},
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
        try:
            yield dict(bootstrap_actors(settings))
        finally:
            end_memory(settings)
            for actor in ray.util.list_named_actors(all_namespaces=True):
                if actor["namespace"] == settings.ray_namespace:
                    ray.kill(ray.get_actor(actor["name"], namespace=settings.ray_namespace))
            ray.shutdown()
            shutil.rmtree(settings.state_dir, ignore_errors=True)


@pytest.fixture
def api(singletons: dict[str, Any]) -> "Iterator[httpx.Client]":
    """A client of the HTTP API in this process, with your routes, beside the singletons of the test."""
    with warnings.catch_warnings(action="ignore"):  # that there will be another httpx
        from fastapi.testclient import TestClient

    from seedcore.api.app import create_app

    # Not as a context manager, which would run the start of the API: it creates the singletons, and they are there.
    client = TestClient(create_app(), base_url="http://localhost")
    yield client
    client.close()


@pytest.fixture
def memory_without_ray(tmp_path: Path) -> Iterator[None]:
    """Every `MwManager` of the test works on stores of its own in this process. Nothing of Ray is started."""
    with _environment(STATE_DIR=str(tmp_path / "state"), MEMORY_URL=""), singletons_in_process(load_settings()):
        yield


@contextmanager
def singletons_in_process(settings: Settings) -> Iterator[None]:
    """Have this process do what it asks the actors of the memory for, without Ray.

    Args:
        settings: where their stores are.
    """
    from seedcore.cluster import actor_client
    from seedcore.cluster.singletons import singletons as rows
    from seedcore.memory.engines import end_memory

    root = logging.getLogger()  # which an actor sets up for its process
    handlers, level = list(root.handlers), root.level
    names = {settings.mw_actor_name, settings.miss_tracker_actor_name, settings.shared_cache_actor_name}
    actors = {row.name: row.actor_class(**row.arguments) for row in rows(settings) if row.name in names}
    root.handlers[:] = handlers
    root.setLevel(level)

    class InProcessClient(actor_client.ActorClient):
        @property
        def known_handle(self) -> Any:
            return actors[self.name]

        def _submit(self, handle: Any, calls: list[Call]) -> Any:
            return _Answered(handle.perform(pack_calls(calls)))

        def _wait(self, reference: Any, deadline: float) -> Any:
            return reference.answers

    with patch.object(actor_client, "ActorClient", InProcessClient):
        try:
            yield
        finally:
            end_memory(settings)
            for actor in actors.values():
                actor.close()


class _Answered:
    """What a call of an actor gives at once, here with the answers in it."""

    def __init__(self, answers: Any) -> None:
        self.answers = answers

    def future(self) -> Future[Any]:
        """The answers, which are there."""
        future: Future[Any] = Future()
        future.set_result(self.answers)
        return future


@contextmanager
def _environment(**variables: str) -> Iterator[None]:
    """With these variables, whatever `.env` and the shell say."""
    with patch.dict(os.environ, variables):
        load_settings.cache_clear()
        try:
            yield
        finally:
            load_settings.cache_clear()


def _python_path() -> str:
    return os.pathsep.join(filter(None, [str(PROJECT_ROOT), os.environ.get("PYTHONPATH")]))
