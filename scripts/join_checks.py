"""Proves that this machine can join a cluster, before it does: `make join`. Exit code 0 only if every check holds.

python -m scripts.join_checks CLIENT_PORT FIRST_PORT LAST_PORT

The environment is that of the node to come: `RAY_ADDRESS` is the head's, `CLUSTER_ADDRESS` this machine's, and the
ports are those that its nodes will have. Through Ray Client, since a native driver needs a node first.
"""

import logging
import socket
import sys
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from typing import Any, Final

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from scripts.checks import CheckError, run_checks
from scripts.cluster_checks import cluster_check
from seedcore.cluster.connection import probe_head
from seedcore.errors import SeedCoreError
from seedcore.ray_environment import export_ray_environment
from seedcore.settings import Settings, SettingsError, load_settings

PORT_TIMEOUT_S: Final = 3.0  # in which a packet and its answer cross the network
AT_ONCE: Final = 100  # ports that are tried
MAX_CLOCK_DIFFERENCE_S: Final = 5.0  # times of items to live are times of day
SHOWN: Final = 5  # files or packages that differ
NODE_MANAGER: Final = 2  # its port, counted from the first of a node's; images/entrypoint.sh gives it
NODE_PORTS: Final = 100


def facts() -> dict[str, Any]:
    """What must be the same on all machines: versions, packages, files of code by their hash, and the time."""
    # Inside, since it runs on nodes which may have another version of this module.
    import importlib.metadata
    import platform
    import re
    import time as of_there

    import ray as ray_there

    from seedcore.code_version import CODE, PROJECT_ROOT, Sources

    sources = Sources(*(PROJECT_ROOT / folder for folder in CODE))
    lock = PROJECT_ROOT / "app/requirements.lock"
    return {
        "versions": {"Ray": ray_there.__version__, "Python": platform.python_version()},
        "packages": {of.metadata["Name"].lower(): of.version for of in importlib.metadata.distributions()},
        "of_app": re.findall("^([A-Za-z0-9._-]+)==", lock.read_text(), re.MULTILINE) if lock.exists() else [],
        "code": {name: sources.hash(path) for name, path in sources.modules().items() if not name.startswith("app")},
        "clock": of_there.time(),
    }


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


def in_words(ports: list[int]) -> str:
    """Ports as a firewall would be told: 21000, 21002-21099."""
    spans: list[list[int]] = []
    for port in sorted(ports):
        if spans and port == spans[-1][1] + 1:
            spans[-1][1] = port
        else:
            spans.append([port, port])
    return ", ".join(f"{first}" if first == last else f"{first}-{last}" for first, last in spans)


class JoinChecks:
    """The checks, on one connection to the cluster.

    Args:
        settings: of the node to come.
        client_port: of Ray Client on the head's machine.
        ports: of the nodes to come.
    """

    def __init__(self, settings: Settings, client_port: int, ports: range) -> None:
        self._settings = settings
        self._head = settings.ray_address.partition(":")[0]
        self._client_port = client_port
        self._ports = ports
        self._theirs: dict[str, Any] = {}

    def connect(self) -> str:
        """The head answers, takes the token, and runs the same Ray and Python."""
        probe_head(self._settings)
        export_ray_environment(self._settings)
        if closed_ports(self._head, [self._client_port], must_listen=True):
            raise CheckError(
                f"nobody answers at {self._head}:{self._client_port}: open the ports that `make cluster-ports` lists"
            )
        try:
            ray.init(f"ray://{self._head}:{self._client_port}", namespace=self._settings.ray_namespace)
        except (ConnectionError, RuntimeError) as error:
            said = " ".join(str(error).split())
            raise CheckError(f"{said}. Both machines need the same version of the project, and of Python.") from error
        began = time.time()
        self._theirs = self._on_head(facts)
        self._theirs["clock"] -= (began + time.time()) / 2 - time.time()
        return f"{self._head}, {self._same('versions')}"

    def same_packages(self) -> str:
        """Packages that both have are the same, and this machine has those of the application."""
        ours = facts()["packages"]
        must = {*ours} & {*self._theirs["packages"]} | {name.lower() for name in self._theirs["of_app"]}
        return self._same("packages", must)

    def same_code(self) -> str:
        """Both have the same version of ours; what is in `app/` comes from the head."""
        return self._same("code")

    def same_time(self) -> str:
        """The clocks agree."""
        difference = time.time() - self._theirs["clock"]
        if abs(difference) > MAX_CLOCK_DIFFERENCE_S:
            raise CheckError(
                f"this machine's clock is {abs(difference):.0f} s {'ahead of' if difference > 0 else 'behind'} the "
                "head's. Set it (`timedatectl set-ntp true`)."
            )
        return f"they differ by {abs(difference):.1f} s"

    def reaches_them(self) -> str:
        """Each port of each node can be reached from here."""
        closed = []
        nodes = self._nodes()
        for node in nodes:
            first = node["NodeManagerPort"] - NODE_MANAGER
            ports = closed_ports(node["NodeManagerAddress"], range(first, first + NODE_PORTS), must_listen=False)
            if ports:
                closed.append(f"{node['NodeManagerAddress']} at {in_words(ports)}")
        if closed:
            raise CheckError(f"this machine does not reach {'; '.join(closed)}. Open these ports there.")
        return f"{len(nodes)} nodes"

    def they_reach_us(self) -> str:
        """Each node reaches each port of this machine."""
        address = self._settings.cluster_address
        unreached = []
        with ExitStack() as listening:
            for port in self._ports:
                listener = listening.enter_context(socket.socket())
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                listener.bind(("", port))
                listener.listen()
            for node in self._nodes():
                ports = self._on_node(node["NodeID"], partial(closed_ports, address, self._ports, must_listen=True))
                if ports:
                    unreached.append(f"{node['NodeManagerAddress']} does not reach {address} at {in_words(ports)}")
        if unreached:
            raise CheckError(
                f"{'; '.join(dict.fromkeys(unreached))}. Open these ports here, or say with CLUSTER_ADDRESS= at which "
                "address the others reach this machine."
            )
        return f"at {address}, {in_words(list(self._ports))}"

    def _same(self, what: str, names: set[str] | None = None) -> str:
        ours, theirs = facts()[what], self._theirs[what]
        names = {*ours, *theirs} if names is None else names
        differ = [name for name in sorted(names) if ours.get(name) != theirs.get(name)]
        if not differ and what == "versions":
            return ", ".join(f"{name} {value}" for name, value in ours.items())
        if not differ:
            return f"{len(names)} of them"
        more = f" and {len(differ) - SHOWN} more" if len(differ) > SHOWN else ""
        if what == "code":
            raise CheckError(
                f"it differs in {', '.join(differ[:SHOWN])}{more}. Bring this clone to the head's version."
            )
        shown = (f"{name} {ours.get(name, 'not')} here, {theirs.get(name, 'not')} there" for name in differ[:SHOWN])
        raise CheckError(
            f"{'; '.join(shown)}{more}. Use the head's version of the project, its lock files, its Python."
        )

    def _nodes(self) -> list[dict[str, Any]]:
        return [node for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]

    def _on_head(self, function: Any) -> Any:
        on_state = ray.remote(num_cpus=0, resources={self._settings.state_resource: 0.001})
        return ray.get(on_state(function).remote(), timeout=60)

    def _on_node(self, node_id: str, function: Any) -> Any:
        def run() -> Any:
            return function()

        there = NodeAffinitySchedulingStrategy(node_id, soft=False)
        return ray.get(ray.remote(num_cpus=0)(run).options(scheduling_strategy=there).remote(), timeout=60)


def main(arguments: list[str]) -> int:
    """Run all checks."""
    client_port, first, last = map(int, arguments)
    logging.getLogger("ray").setLevel(logging.ERROR)
    try:
        settings = load_settings()
    except SettingsError as error:
        print(f"❌ {error}")
        return 1
    checks = JoinChecks(settings, client_port, range(first, last + 1))
    try:
        if not run_checks([cluster_check("the head takes this machine", checks.connect)]):
            return 1  # the others would only repeat it
        return (
            0
            if run_checks(
                [
                    cluster_check("same packages", checks.same_packages),
                    cluster_check("same code", checks.same_code),
                    cluster_check("the clocks agree", checks.same_time),
                    cluster_check("this machine reaches the cluster", checks.reaches_them),
                    cluster_check("the cluster reaches this machine", checks.they_reach_us),
                ]
            )
            else 1
        )
    except SeedCoreError as error:
        print(f"❌ {error}")
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
