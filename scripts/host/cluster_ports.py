"""The ports of a cluster of several machines: fixed, so that a firewall can be told of them; see docs/cluster.md."""

from typing import Final

from scripts.host.runtime import API, HEAD
from scripts.host.settings import HostSettings

NODE_PORTS: Final = 100  # of each node of a machine; images/entrypoint.sh says what it does with them
# Which hundred is whose, counted from CLUSTER_PORTS on; the first worker has the third.
POSITIONS: Final = {HEAD: 0, API: 1}


def ports_of_node(settings: HostSettings, service: str, worker: int = 1) -> range:
    """The ports of a node of this machine.

    Args:
        settings: with `CLUSTER_PORTS`.
        service: that the node is of.
        worker: its number, from 1 on, if it is a worker.
    """
    first = settings.cluster_ports + NODE_PORTS * POSITIONS.get(service, 1 + worker)
    return range(first, first + NODE_PORTS)
