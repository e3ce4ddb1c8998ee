"""Where the servers are: found anew when they have moved, and for at most as long as a call may take."""

import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from redis.cluster import ClusterNode

from scripts.host.ports import LOOPBACK, free_port
from seedcore.errors import AuthenticationFailedError, EngineUnavailableError
from seedcore.memory.engines import memory_of_process
from seedcore.memory.working_memory import MwManager
from seedcore.settings import load_settings
from seedcore.store.valkey.topology import Topology
from tests.engines import Server, needs_engine, running_server
from tests.valkey.conftest import SHORT_DEADLINE_S, Connect
from tests.waiting import wait_until

pytestmark = needs_engine

THREADS = 20


def topology() -> Topology:
    memory: Any = memory_of_process(load_settings())
    found: Topology = memory.client._topology
    return found


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Server]:
    """One server that has all slots."""
    with running_server(tmp_path / "cluster", "--cluster-enabled", "yes") as server, server.client() as client:
        client.execute_command("CLUSTER ADDSLOTSRANGE", 0, 16383)
        wait_until(lambda: client.cluster("INFO")["cluster_state"] == "ok")
        yield server


def url_of(cluster: Server) -> str:
    return f"valkey+cluster://{LOOPBACK}:{cluster.port}?replicas=0"


def test_a_cluster_whose_nodes_all_have_other_addresses_is_found_by_its_url(cluster: Server, connect: Connect) -> None:
    memory = connect(url_of(cluster))
    memory.set_item("plan", 1)
    nodes = topology()._cluster.nodes_manager
    gone = ClusterNode(LOOPBACK, free_port())  # type: ignore[no-untyped-call]
    nodes.startup_nodes = {gone.name: gone}
    topology().forget()
    assert memory.get_item("plan") == 1


def test_keys_that_nobody_has_are_not_together(cluster: Server, connect: Connect) -> None:
    connect(url_of(cluster)).set_item("plan", 1)
    assert topology().are_together(b"one", b"other")
    topology()._cluster.nodes_manager.slots_cache = {}
    assert not topology().are_together(b"one", b"other")


def test_a_cluster_that_wants_a_password_says_so(cluster: Server, connect: Connect) -> None:
    with cluster.client() as client:
        client.config_set("requirepass", "right")
    with pytest.raises(AuthenticationFailedError, match="does not take the user and password"):
        connect(url_of(cluster), CALL_DEADLINE_S=SHORT_DEADLINE_S).set_item("plan", 1)


@pytest.fixture
def sentinel(tmp_path: Path, server: Server) -> Iterator[Server]:
    """One that watches the server."""
    found = Server(tmp_path / "sentinel")
    with ExitStack() as stack:
        stack.callback(found.stop)
        found.start_sentinel(f"sentinel monitor memory {LOOPBACK} {server.port} 1")
        yield found


def watched_by(sentinel: Server) -> str:
    return f"valkey+sentinel://{LOOPBACK}:{sentinel.port}/memory?replicas=0"


def test_sentinels_that_were_set_up_anew_are_believed_once_the_primary_before_is_gone(
    tmp_path: Path, server: Server, sentinel: Server, connect: Connect
) -> None:
    memory = connect(watched_by(sentinel))
    memory.set_item("plan", 1)
    with running_server(tmp_path / "before") as before:
        topology()._primary, topology()._epoch = (LOOPBACK, before.port), 7  # by failovers of sentinels that are gone
        topology().forget()
        assert memory.get_item("plan") is None
    assert memory.get_item("plan") == 1


def test_a_search_that_nobody_answers_ends_with_the_deadline_of_whoever_waits(connect: Connect) -> None:
    with ExitStack() as stack:
        silent = [stack.enter_context(socket.create_server((LOOPBACK, 0))) for _ in range(3)]
        hosts = ",".join(f"{LOOPBACK}:{one.getsockname()[1]}" for one in silent)
        memory = connect(f"valkey+sentinel://{hosts}/memory", CALL_DEADLINE_S="1")
        with ThreadPoolExecutor(THREADS) as threads:
            waiting = [threads.submit(memory.get_item, "plan") for _ in range(THREADS)]
            for one in waiting:
                with pytest.raises(EngineUnavailableError):
                    one.result(timeout=10)  # one after the other they would take a minute


def test_a_write_that_failed_is_not_done_after_a_later_one_of_everybody(server: Server, connect: Connect) -> None:
    memory = connect(server.url, CALL_DEADLINE_S="1")
    memory.set_item("plan", "before")
    with server.paused(), pytest.raises(EngineUnavailableError):
        memory.set_item("plan", "given up")
    MwManager("organ").set_global_item("shared", 1)
    seen = memory.get_item("plan")
    for _ in range(20):
        assert memory.get_item("plan") == seen
