"""Which server has a key."""

import os
import threading
from collections.abc import Mapping
from concurrent.futures import Future
from typing import Any, Final

import redis
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode, RedisCluster
from redis.exceptions import AuthenticationError, RedisClusterException, RedisError
from redis.retry import Retry
from redis.sentinel import Sentinel

from seedcore.event_loop import in_thread
from seedcore.memory_url import Address, Kind

Node = tuple[str, int]  # host and port
ASK_S: Final = 1.0  # for a sentinel; then the next one is asked


ONCE: Final[Mapping[str, Any]] = {
    "retry": Retry(NoBackoff(), 0),
    "socket_timeout": ASK_S,
    "socket_connect_timeout": ASK_S,
}

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
        self._primary: Node | None = address.hosts[0] if address.kind is Kind.SERVER else None
        self._cluster: Any = None
        self._sentinels: list[Any] = []
        self._epoch = 0  # of the failover that made the primary one
        self._is_stale = False
        self._begin_anew()
        os.register_at_fork(after_in_child=self._begin_anew)  # where nobody goes on with a search

    def _begin_anew(self) -> None:
        self._changing = threading.Lock()
        self._searching: Future[None] | None = None

    @property
    def is_known(self) -> bool:
        """Whether `node_of` answers."""
        return not self._is_stale and (self._primary is not None or self._cluster is not None)

    def forget(self) -> None:
        """Ask again which server has what, before the next answer."""
        self._is_stale = self._address.kind is not Kind.SERVER

    def search(self) -> Future[None]:
        """Find the servers. All who wait share one search, and what keeps it from finding them.

        Its errors: redis.exceptions.RedisError, RedisClusterException, OSError: nobody says.
        """
        with self._changing:
            if self._searching is None or self._searching.done():
                self._searching = in_thread(self._find)
            return self._searching

    def node_of(self, key: bytes) -> Node:
        """The server that has the key, or would have it, as was found last.

        Raises:
            redis.exceptions.RedisClusterException: none has.
        """
        if self._primary is not None:
            return self._primary
        if self._cluster is None:
            raise RedisClusterException("no node of the cluster was found yet")
        return _place(self._cluster.nodes_manager.get_node_from_slot(self._cluster.keyslot(key)))

    def are_together(self, one: bytes, other: bytes) -> bool:
        """Whether two keys are on the same server, as was found last."""
        if self._address.kind is not Kind.CLUSTER:
            return True
        try:
            return self.node_of(one) == self.node_of(other)
        except RedisClusterException:  # nobody has one of them just now
            return False

    def nodes(self) -> list[Node]:
        """Every server that has keys of its own. Raises as `node_of`."""
        if self._cluster is None:
            return [self.node_of(b"")]
        return [_place(node) for node in self._cluster.get_primaries()]

    def _find(self) -> None:
        hosts = self._address.hosts
        if self._address.kind is Kind.SENTINEL:
            self._primary = self._latest_primary()
        elif self._cluster is None:
            self._cluster = RedisCluster(startup_nodes=[_NODE(host, port) for host, port in hosts], **self._options)
        else:  # also where the URL says, since all nodes may have other addresses by now
            self._cluster.nodes_manager.initialize(additional_startup_nodes_info=list(hosts))
        self._is_stale = False

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
        # Sentinels that were set up anew count from 0 again; then it is the server itself that tells.
        if epoch < self._epoch and self._primary is not None and self._is_primary(self._primary):
            return self._primary
        self._epoch = epoch
        return primary

    def _is_primary(self, node: Node) -> bool:
        try:
            with redis.Redis(*node, **{**self._options, **ONCE}) as client:
                return bool(client.info("replication")["role"] == "master")
        except (RedisError, OSError):
            return False

    def _states_at(self, number: int) -> Mapping[str, Any]:
        """What one sentinel knows of each primary. If it wants a login, it gets the servers' or the password alone."""
        if not self._sentinels:
            user = {"username": None}
            logins: tuple[Mapping[str, Any], ...] = ({**user, "password": None}, {}, user)
            self._sentinels = [
                _SENTINEL(self._address.hosts, sentinel_kwargs={**self._options, **ONCE, **login}).sentinels
                for login in logins
            ]
        refusal: Exception = RedisError()
        for of_login in self._sentinels:
            try:
                states: Mapping[str, Any] = of_login[number].sentinel_masters()
            except AuthenticationError as error:
                refusal = error
            else:
                return states
        raise refusal


def _place(node: Any) -> Node:
    if node is None:
        raise RedisClusterException("no node has the slot of the key")
    return node.host, node.port
