"""Which server has a key."""

import threading
from collections.abc import Mapping
from typing import Any, Final

from redis.backoff import NoBackoff
from redis.cluster import ClusterNode, RedisCluster
from redis.exceptions import AuthenticationError, RedisClusterException, RedisError
from redis.retry import Retry
from redis.sentinel import Sentinel

from seedcore.memory_url import Address, Kind

Node = tuple[str, int]  # host and port
ASK_S: Final = 1.0  # for a sentinel; then the next one is asked


# Without types of their own.
_SENTINEL: Any = Sentinel
_NODE: Any = ClusterNode


class Topology:
    """Finds the servers of an address, and finds them anew when they have changed. Threads may share it.

    Args:
        address: of the engine.
        options: how to connect to a server.
    """

    def __init__(self, address: Address, options: Mapping[str, Any]) -> None:
        self._address = address
        self._options = dict(options)
        self._finding = threading.Lock()
        self._primary: Node | None = address.hosts[0] if address.kind is Kind.SERVER else None
        self._cluster: Any = None
        self._sentinels: list[Any] = []
        self._epoch = 0  # of the failover that made the primary one
        self._is_stale = False

    @property
    def is_known(self) -> bool:
        """Whether `node_of` answers at once."""
        return not self._is_stale and (self._primary is not None or self._cluster is not None)

    def forget(self) -> None:
        """Ask again which server has what, before the next answer."""
        self._is_stale = self._address.kind is not Kind.SERVER

    def node_of(self, key: bytes) -> Node:
        """The server that has the key, or would have it.

        Raises:
            redis.exceptions.RedisError, RedisClusterException: nobody says.
        """
        if not self.is_known:
            with self._finding:
                if not self.is_known:
                    self._find()
                    self._is_stale = False
        if self._primary is not None:
            return self._primary
        return _place(self._cluster.nodes_manager.get_node_from_slot(self._cluster.keyslot(key)))

    def nodes(self) -> list[Node]:
        """Every server that has keys of its own."""
        first = self.node_of(b"")
        if self._cluster is None:
            return [first]
        return [_place(node) for node in self._cluster.get_primaries()]

    def _find(self) -> None:
        if self._address.kind is Kind.SENTINEL:
            self._primary = self._latest_primary()
        elif self._cluster is None:
            nodes = [_NODE(host, port) for host, port in self._address.hosts]
            self._cluster = RedisCluster(startup_nodes=nodes, **self._options)
        else:
            self._cluster.nodes_manager.initialize()

    def _latest_primary(self) -> Node:
        """As the sentinel says that knows of the latest failover; another may still name the primary before."""
        found: list[tuple[int, Node]] = []
        failure: Exception = RedisError(f"no sentinel knows {self._address.primary!r}")
        for number in range(len(self._address.hosts)):
            try:
                state = self._states_at(number).get(self._address.primary)
            except (RedisError, OSError) as error:
                failure = error
                continue
            if state is not None:
                found.append((int(state["config-epoch"]), (state["ip"], int(state["port"]))))
        if not found:
            raise failure
        epoch, primary = max(found)
        if self._primary is not None and epoch < self._epoch:
            return self._primary
        self._epoch = epoch
        return primary

    def _states_at(self, number: int) -> Mapping[str, Any]:
        """What one sentinel knows of each primary. It gets the login of the servers if it wants one."""
        if not self._sentinels:
            once = {"retry": Retry(NoBackoff(), 0), "socket_timeout": ASK_S, "socket_connect_timeout": ASK_S}
            without = {"username": None, "password": None}
            self._sentinels = [
                _SENTINEL(self._address.hosts, sentinel_kwargs={**self._options, **once, **login}).sentinels
                for login in (without, {})
            ]
        without_login, with_login = (sentinels[number] for sentinels in self._sentinels)
        try:
            states: Mapping[str, Any] = without_login.sentinel_masters()
        except AuthenticationError:
            states = with_login.sentinel_masters()
        return states


def _place(node: Any) -> Node:
    if node is None:
        raise RedisClusterException("no node has the slot of the key")
    return node.host, node.port
