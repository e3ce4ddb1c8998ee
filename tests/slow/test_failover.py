"""Several servers: sentinels that choose another primary, a cluster that loses one, a slot that moves."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import redis

from seedcore.memory.working_memory import MwManager
from seedcore.settings import load_settings
from seedcore.store.valkey.keys import Keys
from seedcore.store.valkey.memory import ValkeyMemory
from tests.engines import Server, needs_engine
from tests.valkey.conftest import Connect, connect  # noqa: F401 - a fixture
from tests.valkey.load import read_by, written_while
from tests.waiting import wait_until

pytestmark = needs_engine

PRIMARY = "memory"
NODE_TIMEOUT_MS = "1000"
SLOTS = 16384
SETTLE_S = 60.0


class Sentinels:
    """A primary with two replicas, and three sentinels that watch it."""

    def __init__(self, folder: Path) -> None:
        self.servers = [Server(folder / f"server-{number}") for number in range(3)]
        self._sentinels = [Server(folder / f"sentinel-{number}") for number in range(3)]

    @property
    def url(self) -> str:
        """`MEMORY_URL`."""
        return f"valkey+sentinel://{','.join(f'127.0.0.1:{one.port}' for one in self._sentinels)}/{PRIMARY}"

    def start(self) -> None:
        """Start them, and wait until they know each other."""
        first, *replicas = self.servers
        first.start()
        for replica in replicas:
            replica.start()
            with replica.client() as client:
                client.replicaof("127.0.0.1", first.port)
        for sentinel in self._sentinels:
            sentinel.start_sentinel(
                f"sentinel monitor {PRIMARY} 127.0.0.1 {first.port} 2",
                f"sentinel down-after-milliseconds {PRIMARY} 1000",
                f"sentinel failover-timeout {PRIMARY} 5000",
            )
        wait_until(self._is_settled, SETTLE_S)

    def _is_settled(self) -> bool:
        for sentinel in self._sentinels:
            with sentinel.client() as client:
                found = client.sentinel_master(PRIMARY)
                if found["num-slaves"] != 2 or found["num-other-sentinels"] != 2:
                    return False
        return True

    def primary(self) -> Server:
        """Which server it is now."""
        with self._sentinels[0].client() as client:
            _, port = client.sentinel_get_master_addr_by_name(PRIMARY)
        return next(server for server in self.servers if server.port == int(port))

    def stop(self) -> None:
        """End all of them."""
        for server in (*self.servers, *self._sentinels):
            server.stop()


@pytest.fixture
def sentinels(tmp_path: Path) -> Iterator[Sentinels]:
    """Running ones."""
    found = Sentinels(tmp_path)
    with ExitStack() as stack:
        stack.callback(found.stop)
        found.start()
        yield found


def test_a_primary_that_dies_under_load_takes_nothing_along(sentinels: Sentinels, connect: Connect) -> None:  # noqa: F811
    memory = connect(sentinels.url)
    dead = sentinels.primary()
    acknowledged = written_while([memory], dead.kill)
    assert sentinels.primary() is not dead
    assert read_by([memory]) == acknowledged


def test_a_primary_that_was_away_and_comes_back_takes_nothing_back(sentinels: Sentinels, connect: Connect) -> None:  # noqa: F811
    memory = connect(sentinels.url)
    away = sentinels.primary()

    def pause_until_another_is_chosen() -> None:
        with away.paused():
            wait_until(lambda: sentinels.primary() is not away, SETTLE_S)

    acknowledged = written_while([memory], pause_until_another_is_chosen)
    wait_until(lambda: is_replica(away), SETTLE_S)
    assert read_by([memory]) == acknowledged


def is_replica(server: Server) -> bool:
    """Whether it knows by now that it is no primary any more."""
    with server.client() as client:
        return str(client.info("replication")["role"]) == "slave"


class ServerCluster:
    """Three primaries, each with a replica or two."""

    def __init__(self, folder: Path, replicas: int) -> None:
        options = ("--cluster-enabled", "yes", "--cluster-node-timeout", NODE_TIMEOUT_MS)
        self.servers = [Server(folder / f"server-{number}", *options) for number in range(3 + 3 * replicas)]

    @property
    def url(self) -> str:
        """`MEMORY_URL`."""
        return f"valkey+cluster://{','.join(f'127.0.0.1:{server.port}' for server in self.servers[:3])}"

    def start(self) -> None:
        """Start them, share the slots, and wait until all agree."""
        for server in self.servers:
            server.start()
        for number, primary in enumerate(self.servers[:3]):
            with primary.client() as client:
                client.execute_command("CLUSTER ADDSLOTSRANGE", SLOTS * number // 3, SLOTS * (number + 1) // 3 - 1)
                client.execute_command("CLUSTER SET-CONFIG-EPOCH", number + 1)
        for server in self.servers[1:]:
            with server.client() as client:
                client.execute_command("CLUSTER MEET", "127.0.0.1", self.servers[0].port)
        wait_until(lambda: all(self._knows_all(server) for server in self.servers), SETTLE_S)
        for number, server in enumerate(self.servers[3:]):
            with server.client() as client:
                client.execute_command("CLUSTER REPLICATE", self.id_of(self.servers[number % 3]))
        wait_until(self.is_settled, SETTLE_S)

    def _knows_all(self, server: Server) -> bool:
        with server.client() as client:
            return int(client.cluster("INFO")["cluster_known_nodes"]) == len(self.servers)

    def id_of(self, server: Server) -> str:
        """Its id in the cluster."""
        with server.client(decode_responses=True) as client:
            return str(client.execute_command("CLUSTER MYID"))

    def is_settled(self) -> bool:
        """Whether every slot is served, and every primary has as many replicas as the others."""
        roles = []
        for server in self.servers:
            try:
                with server.client() as client:
                    if client.cluster("INFO")["cluster_state"] != "ok":
                        return False
                    replication = client.info("replication")
            except redis.RedisError:
                return False
            if replication["role"] == "slave" and replication["master_link_status"] != "up":
                return False
            roles.append(replication["role"])
        return roles.count("master") == 3

    def primary_of(self, key: bytes) -> Server:
        """Which server has a key."""
        topology = ValkeyMemory(load_settings()).client._topology
        topology.search().result(SETTLE_S)
        node = topology.node_of(key)
        return next(server for server in self.servers if server.port == node[1])

    def stop(self) -> None:
        """End all of them."""
        for server in self.servers:
            server.stop()


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[ServerCluster]:
    """A running one, with a replica for each primary."""
    found = ServerCluster(tmp_path, 1)
    with ExitStack() as stack:
        stack.callback(found.stop)
        found.start()
        yield found


def memories_on(cluster: ServerCluster, connect: Connect) -> list[MwManager]:  # noqa: F811
    """Of organs in slots of different primaries."""
    first = connect(cluster.url)
    keys = Keys(load_settings().ray_namespace)
    by_primary = {cluster.primary_of(keys.owner(f"organ-{number}")).port: f"organ-{number}" for number in range(50)}
    return [first, *(MwManager(organ_id) for organ_id in by_primary.values())]


def test_the_memory_is_whole_on_a_cluster(cluster: ServerCluster, connect: Connect) -> None:  # noqa: F811
    for memory in memories_on(cluster, connect):
        memory.set_items({"a": 1, "b": [2]})
        assert memory.get_items(["a", "b", "c"]) == {"a": 1, "b": [2]}
        assert memory.delete_items(["a", "b", "c"]) == ["a", "b"]
        memory.set_global_item(memory.organ_id, memory.organ_id)
        assert memory.get_item(memory.organ_id) == memory.organ_id
        assert memory.get_hot_items(1)[0].item_id == "c"
    told = "; ".join(ValkeyMemory(load_settings()).state().facts)
    assert all(f"at 127.0.0.1:{server.port}, primary with 1 replica(s)" in told for server in cluster.servers[:3])


def test_a_clusters_primary_that_was_away_takes_nothing_back(cluster: ServerCluster, connect: Connect) -> None:  # noqa: F811
    memories = memories_on(cluster, connect)
    memories[1].set_item("plan", 1)
    key = Keys(load_settings().ray_namespace).owner(memories[1].organ_id)
    away = cluster.primary_of(key)

    def pause_until_another_is_chosen() -> None:
        with away.paused():
            wait_until(lambda: others_serve(cluster, away), SETTLE_S)

    acknowledged = written_while(memories, pause_until_another_is_chosen)
    wait_until(cluster.is_settled, SETTLE_S)
    assert is_replica(away)
    assert read_by(memories) == acknowledged


def others_serve(cluster: ServerCluster, away: Server) -> bool:
    """Whether a replica has taken the place of a primary that is away."""
    roles = []
    for server in cluster.servers:
        if server is not away:
            with server.client() as client:
                roles.append(client.info("replication")["role"])
    return roles.count("master") == 3


def test_a_cluster_that_was_killed_at_once_comes_back_with_all(cluster: ServerCluster, connect: Connect) -> None:  # noqa: F811
    memories = memories_on(cluster, connect)

    def kill_all() -> None:
        for server in cluster.servers:
            server.kill()
        for server in cluster.servers:
            server.start()

    acknowledged = written_while(memories, kill_all)
    assert read_by(memories) == acknowledged


def test_a_slot_moves_under_load(cluster: ServerCluster, connect: Connect) -> None:  # noqa: F811
    memories = memories_on(cluster, connect)
    memory = memories[1]
    memory.set_items({f"filler-{number}": number for number in range(200)})
    key = Keys(load_settings().ray_namespace).owner(memory.organ_id)
    source = cluster.primary_of(key)
    target = next(server for server in cluster.servers[:3] if server is not source)

    def move() -> None:
        with source.client() as here, target.client() as there:
            slot = here.execute_command("CLUSTER KEYSLOT", key)
            there.execute_command("CLUSTER SETSLOT", slot, "IMPORTING", cluster.id_of(source))
            here.execute_command("CLUSTER SETSLOT", slot, "MIGRATING", cluster.id_of(target))
            while keys := here.execute_command("CLUSTER GETKEYSINSLOT", slot, 3):
                here.execute_command("MIGRATE", "127.0.0.1", target.port, "", 0, 5000, "KEYS", *keys)
            for server in (there, here):
                server.execute_command("CLUSTER SETSLOT", slot, "NODE", cluster.id_of(target))

    acknowledged = written_while(memories, move)
    assert cluster.primary_of(key) is target
    assert read_by(memories) == acknowledged
    assert memory.get_items([f"filler-{number}" for number in range(200)]) == {
        f"filler-{number}": number for number in range(200)
    }
