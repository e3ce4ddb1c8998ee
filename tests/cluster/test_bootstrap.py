"""Creating the singletons: at once from many processes, again, and where it cannot work."""

import json
import re
import subprocess
import threading
from collections import Counter
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import ray
from ray.experimental.internal_kv import _internal_kv_get, _internal_kv_put
from ray.util.state import list_actors

from seedcore.bootstrap import bootstrap_actors
from seedcore.cluster.singletons import Singleton, singletons
from seedcore.errors import BootstrapError, InvalidSingletonError
from seedcore.memory.working_memory import MwManager
from seedcore.settings import Settings
from tests.cluster.cluster import Cluster
from tests.cluster.processes import kill_for_good

BOOTSTRAP = ("-m", "seedcore.bootstrap")
RACERS = 4
RACER = """
import json, sys
from seedcore.bootstrap import bootstrap_actors
from seedcore.cluster.connection import connect
from seedcore.logs import configure_logging
from seedcore.settings import load_settings

configure_logging(load_settings())
connect()
print("ready", flush=True)
sys.stdin.readline()
print("ids", json.dumps({name: actor._actor_id.hex() for name, actor in bootstrap_actors().items()}))
"""


def refused(cluster: Cluster, *words: str, **knobs: str) -> str:
    """Run bootstrap, which must fail with each of the words in its message and without a traceback."""
    done = cluster.run(*BOOTSTRAP, **knobs)
    assert done.returncode == 1, done.stdout
    assert "Traceback" not in done.stdout, done.stdout
    assert "bootstrap failed: " in done.stdout
    for word in words:
        assert word in done.stdout, done.stdout
    return done.stdout


def ids(handles: dict[str, Any]) -> dict[str, str]:
    """Ray's id of each actor."""
    return {name: handle._actor_id.hex() for name, handle in handles.items()}


def test_many_processes_at_once_make_one_actor_of_each_name(cluster: Cluster, elsewhere: Settings) -> None:
    racers = [cluster.popen("-c", RACER, RAY_NAMESPACE=elsewhere.ray_namespace) for _ in range(RACERS)]
    for racer in racers:
        _read_until(racer, "ready")
    outputs = [racer.communicate("go\n")[0] for racer in racers]  # all of them wait for their line

    assert [racer.returncode for racer in racers] == [0] * RACERS, "\n".join(outputs)
    found = [json.loads(line) for line in re.findall("^ids (.*)$", "\n".join(outputs), re.MULTILINE)]
    assert len(found) == RACERS
    assert all(each == found[0] for each in found)
    names = {row.name for row in singletons(elsewhere)}
    assert set(found[0]) == names
    created = Counter(re.findall(r"(\w+)=created", "\n".join(outputs)))
    assert created == dict.fromkeys(names, 1)
    living = list_actors(filters=[("ray_namespace", "=", elsewhere.ray_namespace), ("state", "=", "ALIVE")])
    assert sorted(str(actor.name) for actor in living) == sorted(names)
    assert {actor.name: actor.actor_id for actor in living} == found[0]


def _read_until(process: subprocess.Popen[str], line: str) -> None:
    assert process.stdout is not None
    seen = []
    for seen_line in process.stdout:
        seen.append(seen_line)
        if seen_line.strip() == line:
            return
    raise AssertionError(f"a racer ended early:\n{''.join(seen)}")


def test_bootstrap_again_reuses_every_actor(settings: Settings, caplog: pytest.LogCaptureFixture) -> None:
    first = ids(bootstrap_actors())
    with caplog.at_level("INFO", "seedcore"):
        assert ids(bootstrap_actors()) == first
    assert "Bootstrapped actors in namespace=seedcore-dev: miss_tracker=reused, shared_cache=reused, mw=reused" in (
        caplog.text
    )


def test_bootstrap_says_where_it_connects_and_what_it_creates(cluster: Cluster, elsewhere: Settings) -> None:
    done = cluster.run(*BOOTSTRAP, RAY_NAMESPACE=elsewhere.ray_namespace)
    assert done.returncode == 0, done.stdout
    assert f"Ray initialized: address={cluster.address} namespace={elsewhere.ray_namespace}" in done.stdout
    assert "miss_tracker=created, shared_cache=created, mw=created" in done.stdout


def test_two_namespaces_have_two_memories(memory: MwManager, cluster: Cluster, elsewhere: Settings) -> None:
    memory.set_item("item", "here")
    program = (
        "import sys; from seedcore.bootstrap import bootstrap_actors; "
        "from seedcore.memory.working_memory import MwManager; bootstrap_actors(); memory = MwManager(sys.argv[1]); "
        "print('before', memory.get_item('item')); memory.set_item('item', 'there')"
    )
    done = cluster.run("-c", program, memory.organ_id, RAY_NAMESPACE=elsewhere.ray_namespace)
    assert done.returncode == 0, done.stdout
    assert "before None" in done.stdout
    assert memory.get_item("item") == "here"


def test_a_singleton_that_was_killed_is_created_again_with_its_items(memory: MwManager, settings: Settings) -> None:
    memory.set_item("item", "kept")
    for handle in bootstrap_actors().values():
        kill_for_good(handle)
    bootstrap_actors()
    assert memory.get_item("item") == "kept"


def test_other_actor_names_are_a_matter_of_the_environment(cluster: Cluster, elsewhere: Settings) -> None:
    name = f"mw_{uuid4().hex[:8]}"
    done = cluster.run(*BOOTSTRAP, RAY_NAMESPACE=elsewhere.ray_namespace, MW_ACTOR_NAME=name)
    assert done.returncode == 0, done.stdout
    assert f"{name}=created" in done.stdout
    assert ray.get_actor(name, namespace=elsewhere.ray_namespace)


def test_no_cluster_at_that_address(cluster: Cluster) -> None:
    refused(cluster, "RAY_ADDRESS=127.0.0.1:1:", "make up", RAY_ADDRESS="127.0.0.1:1")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("0" * 64, "the head does not accept it"),
        ("", "the file is empty"),
        (None, "No such file or directory"),
        ("two\nlines", "something else than one line of text"),
    ],
)
def test_a_token_that_does_not_work(cluster: Cluster, tmp_path: Path, content: str | None, reason: str) -> None:
    token = tmp_path / "token"
    if content is not None:
        token.write_text(content)
    refused(cluster, str(token), reason, "make rotate-token", RAY_AUTH_TOKEN_PATH=str(token))


def test_a_bad_value_is_named(cluster: Cluster) -> None:
    refused(cluster, "LOOKUP_RETRIES='-1'", "greater than or equal to 1", LOOKUP_RETRIES="-1")


@pytest.mark.parametrize("part", ["ray_version", "python_version"])
def test_a_cluster_of_another_version(cluster: Cluster, settings: Settings, part: str) -> None:
    # The head wrote down its own versions (ray._common.usage.usage_lib.put_cluster_metadata); every driver compares.
    key, namespace = b"CLUSTER_METADATA", b"cluster"
    written = _internal_kv_get(key, namespace=namespace)
    assert written is not None
    changed = {**json.loads(written), part: "2.0.1"}
    _internal_kv_put(key, json.dumps(changed).encode(), overwrite=True, namespace=namespace)
    try:
        refused(cluster, "2.0.1", "make up")
    finally:
        _internal_kv_put(key, written, overwrite=True, namespace=namespace)


class Plain:
    """An actor of an application."""


class Locked:
    """One with an argument."""

    def __init__(self, lock: object) -> None:
        """Take anything."""


def test_a_row_that_ray_does_not_take_is_named_and_the_others_live(elsewhere: Settings) -> None:
    row = Singleton("broken", Locked, {"lock": threading.Lock()})
    with pytest.raises(BootstrapError, match=r"broken: Ray refuses its row of SINGLETONS.*serialize"):
        bootstrap_actors(elsewhere, [row, Singleton("good", Plain)])
    assert ray.get_actor("good", namespace=elsewhere.ray_namespace)


class Large(Plain):
    """Wants more than there is."""


def test_a_singleton_that_fits_on_no_node_is_told_so_and_is_born_once_it_is_smaller(elsewhere: Settings) -> None:
    soon = elsewhere.model_copy(update={"bootstrap_deadline_s": 3.0})
    with pytest.raises(BootstrapError, match=r"large: it waits for 5000 CPUs, and the node that offers most has \d+"):
        bootstrap_actors(soon, [Singleton("large", Large, options={"num_cpus": 5000})])
    bootstrap_actors(elsewhere, [Singleton("large", Large)])


def test_two_rows_of_one_name_are_refused(elsewhere: Settings) -> None:
    with pytest.raises(InvalidSingletonError, match="same name: twin"):
        bootstrap_actors(elsewhere, [Singleton("twin", Plain), Singleton("twin", Plain)])
