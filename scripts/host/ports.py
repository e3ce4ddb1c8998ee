"""Tells before a start which port is taken, and by whom; finds free ones."""

import random
import socket
from collections.abc import Callable, Collection, Mapping
from contextlib import ExitStack
from typing import Final

import psutil

from scripts.host.runtime import StackError

LOOPBACK: Final = "127.0.0.1"
LISTENER_PORTS: Final = (20_000, 32_000)  # below those that Linux gives to clients, one of which could come between


def is_free(port: int) -> bool:
    """Whether a server could listen on this port of 127.0.0.1."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def require_free_ports(
    ports: Mapping[str, int], owner: Callable[[int], str | None], ours: Collection[int] = frozenset()
) -> None:
    """Refuse to go on unless all ports can be had.

    Args:
        ports: port by the knob that sets it.
        owner: who has a port, if somebody else than the process table knows it.
        ours: ports that this very stack has already.

    Raises:
        StackError: names each port that is taken, its knob, and who has it as far as can be seen.
    """
    double = {knob: port for knob, port in ports.items() if list(ports.values()).count(port) > 1}
    if double:
        listed = ", ".join(f"{knob}={port}" for knob, port in double.items())
        raise StackError(f"these knobs must differ: {listed}. Change one of them in .env.")
    taken = [
        f"port {port} ({knob}) is taken by {owner(port) or listener(port) or 'a process of another user'}"
        for knob, port in ports.items()
        if port not in ours and not is_free(port)
    ]
    if taken:
        # `RAY_AGENT_PORT + 1` is set by the knob, and RAY_ADDRESS has a host before its port.
        knobs = {
            f"{knob}={LOOPBACK}:PORT" if knob == "RAY_ADDRESS" else knob.partition(" ")[0]: None
            for knob in ports
            if any(f"({knob})" in line for line in taken)
        }
        remedy = f"Stop it, or set {' or '.join(knobs)} in .env to a free port, then try again."
        raise StackError("\n".join([*taken, remedy]))


def listener(port: int) -> str | None:
    """The process that listens on this port, in words; None if that cannot be seen."""
    try:
        connections = psutil.net_connections(kind="tcp")
    except psutil.Error:
        return None
    for connection in connections:
        listens_here = connection.laddr and connection.laddr.port == port
        if connection.status == psutil.CONN_LISTEN and listens_here and connection.pid:
            try:
                return f"process {connection.pid} ({psutil.Process(connection.pid).name()})"
            except psutil.Error:
                return f"process {connection.pid}"
    return None


def free_port() -> int:
    """A TCP port that nothing listens on now."""
    return free_ports(1)


def free_ports(number: int) -> int:
    """The first of as many TCP ports in a row that nothing listens on now."""
    while True:
        first = random.randrange(*LISTENER_PORTS)  # noqa: S311 - no secret
        with ExitStack() as sockets:
            try:
                for port in range(first, first + number):
                    sockets.enter_context(socket.socket()).bind((LOOPBACK, port))
            except OSError:
                continue
            return first
