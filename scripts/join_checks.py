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
from contextlib import ExitStack
from functools import cached_property, partial
from typing import Any, Final

import ray

from scripts.checks import CheckError, run_checks
from scripts.cluster_checks import cluster_check
from scripts.machines import (
    SHOWN,
    agree,
    ahead_s,
    and_more,
    clock,
    closed_ports,
    closed_ports_of,
    different,
    facts,
    in_words,
    living_nodes,
    on_nodes,
    packages_of_both,
    ports_of,
)
from seedcore.cluster.connection import probe_head
from seedcore.errors import SeedCoreError
from seedcore.memory.engines import memory_of_process
from seedcore.ray_environment import export_ray_environment
from seedcore.settings import Settings, SettingsError, load_settings

TASK_TIMEOUT_S: Final = 60.0
SAME_VERSION: Final = "Use the head's version of the project, its lock files, its Python."


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

    @cached_property
    def _ours(self) -> dict[str, Any]:
        return facts()

    def connect(self) -> str:
        """The head answers, takes the token, and runs the same Ray and Python."""
        probe_head(self._settings)
        export_ray_environment(self._settings)
        if closed_ports(self._head, [self._client_port], must_listen=True):
            raise CheckError(
                f"nobody answers at {self._head}:{self._client_port}: open the ports that `make cluster-ports` lists"
            )
        try:
            ray.init(
                f"ray://{self._head}:{self._client_port}",
                namespace=self._settings.ray_namespace,
                logging_level=logging.ERROR,
            )
        except (ConnectionError, RuntimeError) as error:
            said = " ".join(str(error).split())
            raise CheckError(f"{said}. Both machines need the same version of the project, and of Python.") from error
        self._theirs = self._on_head(facts)
        differ = self._different("versions", self._theirs["versions"])
        if differ:
            raise CheckError(f"{differ}. {SAME_VERSION}")
        return f"{self._head}, " + ", ".join(f"{name} {value}" for name, value in self._theirs["versions"].items())

    def same_packages(self) -> str:
        """Packages that both have are the same, and this machine has those of the application."""
        must = packages_of_both(self._ours, self._theirs)
        differ = self._different("packages", must)
        if differ:
            raise CheckError(f"{differ}. {SAME_VERSION}")
        return f"{len(must)} of them"

    def same_code(self) -> str:
        """Both have the same version of ours; what is in `app/` comes from the head."""
        ours, theirs = self._ours["code"], self._theirs["code"]
        differ = sorted(name for name in {*ours, *theirs} if ours.get(name) != theirs.get(name))
        if differ:
            raise CheckError(
                f"it differs in {', '.join(differ[:SHOWN])}{and_more(differ)}. Bring this clone to the head's version."
            )
        return f"{len(ours)} modules"

    def same_memory(self) -> str:
        """Work on this machine will read and write the memory that the head's does, and reaches it."""
        theirs = self._theirs["memory"]
        if differ := self._different("memory", theirs):
            raise CheckError(f"{differ}. Write the head's into .env here; a host in it is one that all machines reach.")
        if not self._settings.memory_url:
            return "at the head"
        memory = memory_of_process(self._settings)
        memory.state()  # whose problems are a matter of the head's `doctor`
        return memory.name

    def same_time(self) -> str:
        """The clocks agree."""
        asked_at = time.time()
        ahead = ahead_s(self._on_head(clock), asked_at, time.time())
        if not agree(ahead):
            raise CheckError(
                f"this machine's clock is {abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} the head's. Set "
                "the one that is wrong (`timedatectl set-ntp true`)."
            )
        return f"within {max(abs(ahead), time.time() - asked_at):.1f} s"

    def reaches_them(self) -> str:
        """Each port of each node can be reached from here."""
        machines = self._others()
        closed = closed_ports_of({address: ports_of(nodes) for address, nodes in machines.items()})
        if closed:
            them = "; ".join(f"{address} at {in_words(ports)}" for address, ports in closed.items())
            raise CheckError(f"this machine does not reach {them}. Open these ports there.")
        return f"{len(machines)} machine(s)"

    def they_reach_us(self) -> str:
        """Each machine reaches each port of this one."""
        address = self._settings.cluster_address
        machines = self._others()
        look = partial(closed_ports, address, self._ports, must_listen=True)
        with ExitStack() as listening:
            for port in self._ports:
                listener = listening.enter_context(socket.socket())
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                listener.bind(("", port))
                listener.listen()
            ids = {nodes[0]["NodeID"]: there for there, nodes in machines.items()}
            seen = on_nodes(dict.fromkeys(ids, look), TASK_TIMEOUT_S)
        unreached = [
            f"{ids[one]} does not reach {address} at {in_words(ports)}" for one, ports in seen.items() if ports
        ]
        if unreached:
            raise CheckError(
                f"{'; '.join(unreached)}. Open these ports here, or say with CLUSTER_ADDRESS= at which "
                "address the others reach this machine."
            )
        silent = [there for one, there in ids.items() if one not in seen]
        if silent:
            raise CheckError(f"{', '.join(silent)} did not answer in {TASK_TIMEOUT_S:g} s. `make doctor` at the head.")
        return f"at {address}, {in_words(self._ports)}"

    def _others(self) -> dict[str, list[dict[str, Any]]]:
        """The living nodes of each other machine. One of this machine has lost its power, and Ray will notice."""
        own = self._settings.cluster_address
        return {address: nodes for address, nodes in living_nodes().items() if address != own}

    def _different(self, what: str, names: Iterable[str]) -> str:
        return different(self._ours[what], self._theirs[what], names)

    def _on_head(self, function: Any) -> Any:
        on_state = ray.remote(num_cpus=0, resources={self._settings.state_resource: 0.001})
        return ray.get(on_state(function).remote(), timeout=TASK_TIMEOUT_S)


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
                    cluster_check("same memory", checks.same_memory),
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
