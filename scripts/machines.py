"""What the checks of several machines ask: which there are, what one of them has, and which ports let nobody in."""

import platform
import re
import socket
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from importlib.metadata import distributions
from typing import Any, Final, TypeVar

import ray
from ray.exceptions import NodeDiedError, TaskUnschedulableError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from seedcore.code_version import CODE, PROJECT_ROOT, Sources
from seedcore.settings import NODE_PORTS, load_settings

T = TypeVar("T")

PORT_TIMEOUT_S: Final = 3.0  # in which a packet and its answer cross the network
AT_ONCE: Final = 100  # ports that are tried
MAX_CLOCK_DIFFERENCE_S: Final = 5.0  # times of items to live are times of day
SHOWN: Final = 5  # files or packages that differ
NODE_MANAGER: Final = 2  # its port, counted from the first of a node's; images/entrypoint.sh gives it


def facts() -> dict[str, Any]:
    """What must be the same on all machines: versions, packages, code by the hash of its files, and the memory."""
    settings = load_settings()
    sources = Sources(*(PROJECT_ROOT / folder for folder in CODE))
    lock = PROJECT_ROOT / "app/requirements.lock"
    return {
        "versions": {"Ray": ray.__version__, "Python": platform.python_version()},
        "packages": {of.metadata["Name"].lower(): of.version for of in distributions()},
        "of_app": re.findall("^([A-Za-z0-9._-]+)==", lock.read_text(), re.MULTILINE) if lock.exists() else [],
        "code": {name: sources.hash(path) for name, path in sources.modules().items() if not name.startswith("app")},
        "memory": {"RAY_NAMESPACE": settings.ray_namespace, "MEMORY_URL": settings.memory_url or "(empty)"},
    }


def clock() -> float:
    """The time of day, in seconds."""
    return time.time()


def own_address() -> str:
    """That of this process's node."""
    return str(ray.util.get_node_ip_address())  # type: ignore[no-untyped-call]


def living_nodes() -> dict[str, list[dict[str, Any]]]:
    """The nodes that live, as Ray describes them, by the address of their machine."""
    machines: dict[str, list[dict[str, Any]]] = {}
    for node in ray.nodes():  # type: ignore[no-untyped-call]
        if node["Alive"]:
            machines.setdefault(node["NodeManagerAddress"], []).append(node)
    return machines


def on_nodes(functions: Mapping[str, Callable[[], T]], timeout_s: float) -> dict[str, T]:
    """What comes of a function on each node, by the node's id; without those that die or do not answer in time.

    Args:
        functions: by the id of the node that runs it.
        timeout_s: for all of them together.
    """

    def call(function: Callable[[], T]) -> T:
        return function()

    task = ray.remote(num_cpus=0)(call)
    asked = {
        task.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node_id, soft=False)).remote(function): node_id
        for node_id, function in functions.items()
    }
    answered, silent = ray.wait([*asked], num_returns=len(asked), timeout=timeout_s) if asked else ([], [])
    for reference in silent:
        ray.cancel(reference)
    found = {}
    for reference in answered:
        with suppress(TaskUnschedulableError, NodeDiedError):
            found[asked[reference]] = ray.get(reference)
    return found


def ports_of(nodes: Iterable[Mapping[str, Any]]) -> list[int]:
    """The ports of some nodes of one machine."""
    firsts = [node["NodeManagerPort"] - NODE_MANAGER for node in nodes]
    return [port for first in sorted(firsts) for port in range(first, first + NODE_PORTS)]


def closed_ports(address: str, ports: Iterable[int], must_listen: bool) -> list[int]:
    """Those ports of a machine from which no answer comes.

    Args:
        address: of the machine.
        ports: to try.
        must_listen: whether a refusal is none; somebody who is not blocked by a firewall refuses where nobody listens.
    """

    def is_closed(port: int) -> bool:
        try:
            socket.create_connection((address, port), PORT_TIMEOUT_S).close()
        except ConnectionRefusedError:
            return must_listen
        except OSError:
            return True
        return False

    listed = list(ports)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return [port for port, closed in zip(listed, pool.map(is_closed, listed), strict=True) if closed]


def closed_ports_of(ports: Mapping[str, list[int]]) -> dict[str, list[int]]:
    """Of the ports of some machines, by address, those from which no answer comes, not even a refusal."""
    closed = {address: closed_ports(address, listed, must_listen=False) for address, listed in ports.items()}
    return {address: found for address, found in closed.items() if found}


def in_words(ports: Iterable[int]) -> str:
    """Ports as a firewall would be told: 21000, 21002-21099."""
    spans: list[list[int]] = []
    for port in sorted(ports):
        if spans and port == spans[-1][1] + 1:
            spans[-1][1] = port
        else:
            spans.append([port, port])
    return ", ".join(f"{first}" if first == last else f"{first}-{last}" for first, last in spans)


def different(ours: Mapping[str, Any], theirs: Mapping[str, Any], names: Iterable[str]) -> str:
    """Which versions differ, in words; empty if none does."""
    differ = [name for name in sorted(names) if ours.get(name) != theirs.get(name)]
    shown = (f"{name} {ours.get(name, 'not')} here, {theirs.get(name, 'not')} there" for name in differ[:SHOWN])
    return "; ".join(shown) + and_more(differ)


def and_more(differ: list[str]) -> str:
    """What follows after the first of them."""
    return f" and {len(differ) - SHOWN} more" if len(differ) > SHOWN else ""


def packages_of_both(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> set[str]:
    """The packages that must be the same: those that both have, and those of the application."""
    return {*ours["packages"]} & {*theirs["packages"]} | {name.lower() for name in theirs["of_app"]}


def ahead_s(clock: float, asked_at: float, answered_at: float) -> float:
    """By how many seconds this machine's clock is ahead of another one's; 0 if that could be the time of the way.

    Args:
        clock: what the other one said.
        asked_at: by this machine's clock.
        answered_at: likewise.
    """
    return max(0.0, asked_at - clock) + min(0.0, answered_at - clock)


def agree(difference_s: float) -> bool:
    """Whether clocks that differ by this do."""
    return abs(difference_s) <= MAX_CLOCK_DIFFERENCE_S
