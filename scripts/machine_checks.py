"""The checks of `doctor` that compare the machines of a cluster, on either side of it."""

import socket
import time
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property, partial
from typing import Any, Final, TypeVar

from scripts.checks import Check, CheckError
from scripts.cluster_checks import cluster_check
from scripts.machines import (
    agree,
    ahead_s,
    clock,
    closed_ports_of,
    different,
    facts,
    in_words,
    living_nodes,
    on_nodes,
    own_address,
    packages_of_both,
    ports_of,
)
from seedcore.cluster.status import node_statuses
from seedcore.settings import Settings

T = TypeVar("T")

TASK_TIMEOUT_S: Final = 20.0


class MachineChecks:
    """The checks, on one connection to the cluster.

    Args:
        settings: of this machine's node.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    @cached_property
    def _machines(self) -> dict[str, list[dict[str, Any]]]:
        return living_nodes()

    @cached_property
    def _others(self) -> dict[str, list[dict[str, Any]]]:
        return {address: nodes for address, nodes in self._machines.items() if address != own_address()}

    @cached_property
    def _theirs(self) -> dict[str, dict[str, Any]]:
        return self._ask(lambda _: facts)

    def checks(self) -> list[Check]:
        """In the order in which one failure explains the next."""
        return [
            cluster_check("every machine is heard of", self.all_there),
            cluster_check("this machine reaches the others", self.reached_from_here),
            cluster_check("they reach one another", self.reach_one_another),
            cluster_check("they have the same packages", self.same_packages),
            cluster_check("they have the same memory", self.same_memory),
            cluster_check("their clocks agree", self.same_time),
        ]

    def all_there(self) -> str:
        """None has gone without `make leave`."""
        lost = {node.address: node for node in node_statuses(self._settings) if node.reason}
        if lost:
            told = "; ".join(f"{address} ({node.host_name}): {node.reason}" for address, node in lost.items())
            raise CheckError(
                f"{told}. If it is on, `make doctor` there says why; `make join` there brings it back. One that is "
                "gone for good is forgotten after `make down` and `make up`."
            )
        return ", ".join(
            f"{address} ({nodes[0]['NodeManagerHostname']}, {sum(node['Resources'].get('CPU', 0) for node in nodes):g} "
            "CPUs)"
            for address, nodes in self._machines.items()
        )

    def reached_from_here(self) -> str:
        """No packet to a port of another machine is dropped."""
        return _none_closed({own_address(): closed_ports_of(self._ports(self._others))})

    def reach_one_another(self) -> str:
        """Nor of theirs to each other one and to this one."""
        return _none_closed(self._ask(lambda there: partial(closed_ports_of, self._ports({*self._machines} - {there}))))

    def same_packages(self) -> str:
        """Those that two machines have are of one version."""
        return self._same(
            lambda ours, theirs: different(ours["packages"], theirs["packages"], packages_of_both(ours, theirs)),
            "Bring the lock files of the head's machine to all, then `make leave` and `make join` there.",
        )

    def same_memory(self) -> str:
        """All work reads and writes one memory."""
        return self._same(
            lambda ours, theirs: different(ours["memory"], theirs["memory"], theirs["memory"]),
            "Write the head's into .env there, then `make leave` and `make join`.",
        )

    def _same(self, differ: Callable[[dict[str, Any], dict[str, Any]], str], remedy: str) -> str:
        ours = facts()
        problems = [
            f"{address}: {found}" for address, theirs in self._theirs.items() if (found := differ(ours, theirs))
        ]
        if problems:
            raise CheckError(f"{'. '.join(problems)}. {remedy}")
        return f"on {len(self._others) + 1} machine(s)"

    def same_time(self) -> str:
        """Items live as long everywhere."""
        asked_at = time.time()
        clocks = self._ask(lambda _: clock)
        answered_at = time.time()
        ahead = {address: ahead_s(clock, asked_at, answered_at) for address, clock in clocks.items()}
        wrong = [
            f"that of {address} is {abs(by):.0f} s {'behind' if by > 0 else 'ahead of'} this machine's"
            for address, by in ahead.items()
            if not agree(by)
        ]
        if wrong:
            raise CheckError(f"{'; '.join(wrong)}. Set the one that is wrong (`timedatectl set-ntp true`).")
        return f"within {max([answered_at - asked_at, *map(abs, ahead.values())]):.1f} s"

    def _ports(self, addresses: Iterable[str]) -> dict[str, list[int]]:
        """Of machines, by their addresses; of the head's the control plane as well."""
        head, _, port = self._settings.ray_address.partition(":")
        head = socket.gethostbyname(head)
        return {
            address: ports_of(self._machines[address]) + ([int(port)] if address == head else [])
            for address in addresses
        }

    def _ask(self, function: Callable[[str], Callable[[], T]]) -> dict[str, T]:
        """What comes of a function on each other machine, by its address.

        Args:
            function: makes it for an address.

        Raises:
            CheckError: one does not answer.
        """
        by_node = {nodes[0]["NodeID"]: address for address, nodes in self._others.items()}
        answers = on_nodes({node: function(address) for node, address in by_node.items()}, TASK_TIMEOUT_S)
        silent = [address for node, address in by_node.items() if node not in answers]
        if silent:
            raise CheckError(
                f"{', '.join(silent)} did not answer in {TASK_TIMEOUT_S:g} s. `make doctor` there says what it reaches."
            )
        return {by_node[node]: answer for node, answer in answers.items()}


def _none_closed(seen: Mapping[str, Mapping[str, list[int]]]) -> str:
    """The machines that were asked.

    Args:
        seen: by address, what `closed_ports_of` found there.

    Raises:
        CheckError: a port is closed.
    """
    closed = [
        f"{here} does not reach {there} at {in_words(ports)}"
        for here, found in seen.items()
        for there, ports in found.items()
    ]
    if closed:
        raise CheckError(f"{'; '.join(closed)}. Open these ports there: `make cluster-ports`.")
    return ", ".join(seen) or "there is no other"
