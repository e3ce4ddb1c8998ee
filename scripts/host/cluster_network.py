"""This machine's address and ports in a cluster of several, fixed, so that a firewall can be told of them; see
docs/cluster.md.
"""

import socket
from typing import Final

import psutil

from scripts.host.runtime import API, HEAD, StackError
from scripts.host.settings import HostSettings
from seedcore.settings import NODE_PORTS

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


def interface_of(settings: HostSettings) -> str:
    """The network interface of this machine that has `CLUSTER_ADDRESS`.

    Raises:
        StackError: none has.
    """
    found = {
        address.address: name
        for name, addresses in psutil.net_if_addrs().items()
        for address in addresses
        if address.family is socket.AF_INET
    }
    try:
        return found[socket.gethostbyname(settings.cluster_address)]
    except (KeyError, OSError) as error:
        listed = ", ".join(f"{name} has {address}" for address, name in sorted(found.items()))
        raise StackError(
            f"CLUSTER_ADDRESS={settings.cluster_address} is no IPv4 address of this machine: {listed}. Take the one at "
            "which the other machines reach it."
        ) from error
