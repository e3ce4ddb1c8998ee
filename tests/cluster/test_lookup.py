"""Finding actors: what is found, and what the error says when nothing is."""

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
import ray
from ray.actor import ActorHandle

from seedcore.cluster.bootstrap import bootstrap_actors, get_miss_tracker, get_mw_store, get_shared_cache, get_singleton
from seedcore.cluster.connection import connect
from seedcore.cluster.retries import lookup_retries
from seedcore.errors import ActorNotFoundError, ActorUnavailableError
from seedcore.settings import Settings
from tests.cluster.cluster import Cluster
from tests.cluster.processes import kill_for_good, paused


@pytest.mark.parametrize(
    ("get", "class_name"),
    [(get_mw_store, "MwStore"), (get_miss_tracker, "MissTracker"), (get_shared_cache, "SharedCache")],
)
def test_each_singleton_has_its_getter(
    settings: Settings, get: Callable[[], ActorHandle[Any]], class_name: str
) -> None:
    actor: Any = get()
    assert ray.get(actor.__ray_call__.remote(lambda self: type(self).__name__), timeout=30) == class_name


def test_a_name_that_exists_nowhere(settings: Settings) -> None:
    name = f"nobody-{uuid4().hex[:8]}"
    before = lookup_retries()
    with pytest.raises(ActorNotFoundError) as caught:
        get_singleton(name)
    assert lookup_retries() - before == settings.lookup_retries - 1
    message = str(caught.value)
    assert f"Failed to look up actor with name '{name}' in namespace 'seedcore-dev'" in message
    assert f"tried {settings.lookup_retries} times" in message
    assert "does not exist in any namespace" in message
    assert "no row of SINGLETONS in app/actors.py has this name; there are miss_tracker, shared_cache, mw" in message
    assert "make bootstrap" not in message


def test_a_name_that_exists_in_another_namespace(elsewhere: Settings) -> None:
    with pytest.raises(ActorNotFoundError) as caught:
        get_singleton("mw", elsewhere)
    message = str(caught.value)
    assert f"Failed to look up actor with name 'mw' in namespace '{elsewhere.ray_namespace}'" in message
    assert "it does exist in" in message
    assert "'seedcore-dev'" in message
    assert "RAY_NAMESPACE" in message
    assert "AUTO_CREATE=1" in message


def test_auto_create_makes_what_is_missing_and_only_once(elsewhere: Settings) -> None:
    creating = elsewhere.model_copy(update={"auto_create": True})
    created = get_singleton("mw", creating)
    assert get_singleton("mw", creating) == created
    assert get_singleton("mw", elsewhere) == created
    with pytest.raises(ActorNotFoundError):
        get_singleton("shared_cache", elsewhere)


def test_auto_create_makes_no_other_actors_than_singletons(elsewhere: Settings) -> None:
    with pytest.raises(ActorNotFoundError):
        get_singleton("nobody", elsewhere.model_copy(update={"auto_create": True}))


def test_an_actor_that_was_killed_for_good_is_missed_until_bootstrap(settings: Settings) -> None:
    kill_for_good(get_mw_store())
    with pytest.raises((ActorNotFoundError, ActorUnavailableError), match="make bootstrap"):
        get_mw_store()
    bootstrap_actors()
    assert get_mw_store()


def test_an_actor_that_does_not_answer(settings: Settings) -> None:
    actor = get_mw_store()
    with paused(actor), pytest.raises(ActorUnavailableError) as caught:
        get_singleton("mw", settings.model_copy(update={"lookup_deadline_s": 1.0}))
    assert "it exists, but did not answer a ping" in str(caught.value)
    assert "make monitor" in str(caught.value)
    assert get_mw_store() == actor


def test_a_second_connect_keeps_the_connection(settings: Settings) -> None:
    job = ray.get_runtime_context().get_job_id()
    connect()
    assert ray.get_runtime_context().get_job_id() == job


def test_a_process_that_connects_anew_finds_the_actors_again(cluster: Cluster, settings: Settings) -> None:
    program = (
        "import ray\n"
        "from seedcore.memory.working_memory import MwManager\n"
        "memory = MwManager('reconnecting')\n"
        "memory.set_item('item', 'kept')\n"
        "ray.shutdown()\n"
        "print('read', memory.get_item('item'))\n"
    )
    done = cluster.run("-c", program)
    assert done.returncode == 0, done.stdout
    assert "read kept" in done.stdout


def test_a_driver_in_another_namespace_of_its_own_finds_them_too(cluster: Cluster, settings: Settings) -> None:
    # A user's own ray.init without `namespace=` gets a nameless one; look-ups name theirs.
    program = (
        "import os, ray\n"
        "from seedcore.memory.working_memory import MwManager\n"
        "ray.init(address=os.environ['RAY_ADDRESS'])\n"
        "memory = MwManager('nameless')\n"
        "memory.set_item('item', 'kept')\n"
        "print('read', memory.get_item('item'))\n"
    )
    done = cluster.run("-c", program)
    assert done.returncode == 0, done.stdout
    assert "read kept" in done.stdout


def test_a_process_that_imported_ray_before_it_knew_of_the_token_connects(cluster: Cluster, settings: Settings) -> None:
    program = (
        "import os\n"
        "mode = os.environ.pop('RAY_AUTH_MODE')\n"
        "import ray\n"
        "os.environ['RAY_AUTH_MODE'] = mode\n"
        "from seedcore.cluster.bootstrap import get_mw_store\n"
        "print('found', get_mw_store())\n"
    )
    done = cluster.run("-c", program)
    assert done.returncode == 0, done.stdout
    assert "found Actor(MwStore" in done.stdout


def test_a_driver_that_ends_does_not_wait_until_it_would_poll_again(cluster: Cluster) -> None:
    ends = "from seedcore.cluster import connection, ray_polling; ray_polling.POLL_AGAIN_S = 3600; connection.connect()"
    done = cluster.run("-c", ends)
    assert done.returncode == 0, done.stdout
