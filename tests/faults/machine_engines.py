"""The servers of a cluster that keeps the memory, two on each of three machines."""

import shutil
from pathlib import Path
from typing import Final

from tests.engines import DURABLE, PROGRAM
from tests.machines.machine import Machine
from tests.waiting import wait_until

CLI: Final = shutil.which("valkey-cli") or shutil.which("redis-cli") or ""
PORTS: Final = (7001, 7002)
BUS: Final = 10_000  # above a server's port, where its cluster talks
NODE_TIMEOUT_MS: Final = 3000
SETTLE_S: Final = 60.0


class MachineEngines:
    """Three primaries with a replica each, which is on another machine than its primary.

    Args:
        machines: three, on.
    """

    def __init__(self, machines: list[Machine]) -> None:
        self._machines = machines
        self._addresses = [f"{machine.address}:{port}" for port in PORTS for machine in machines]
        for machine in machines:
            self.start(machine)
        self._run(machines[0], "--cluster", "create", *self._addresses, "--cluster-replicas", "1", "--cluster-yes")
        self.wait_until_settled()

    @property
    def url(self) -> str:
        """`MEMORY_URL`."""
        return f"valkey+cluster://{','.join(self._addresses[: len(self._machines)])}"

    @property
    def ports(self) -> tuple[str, ...]:
        """What a firewall must let in."""
        return tuple(str(port + above) for port in PORTS for above in (0, BUS))

    def start(self, machine: Machine) -> None:
        """Start those of a machine that was just switched on; they find their files."""
        for port in PORTS:
            folder = Path(machine.folder.parent, f"engine-{port}")
            folder.mkdir(exist_ok=True)
            options = {"port": port, "dir": folder, "cluster-enabled": "yes", "cluster-node-timeout": NODE_TIMEOUT_MS}
            given = [word for name, value in options.items() for word in (f"--{name}", str(value))]
            with (folder / "log").open("ab") as log:
                machine.start(str(PROGRAM), "--protected-mode", "no", *given, *DURABLE, log=log)
        wait_until(lambda: all(self._run(machine, "-p", str(port), "PING") == "PONG\n" for port in PORTS))

    def wait_until_settled(self) -> None:
        """Each slot has a primary, and each primary a replica that follows it."""
        wait_until(self._is_settled, SETTLE_S)

    def _is_settled(self) -> bool:
        for machine in self._machines:
            for port in map(str, PORTS):
                told = self._run(machine, "-p", port, "INFO", "replication")
                if "role:master" in told and "state=online" not in told:
                    return False
                if "role:slave" in told and "master_link_status:up" not in told:
                    return False
                if "cluster_state:ok" not in self._run(machine, "-p", port, "CLUSTER", "INFO"):
                    return False
        return True

    @staticmethod
    def _run(machine: Machine, *arguments: str) -> str:
        return machine.run(CLI, *arguments).stdout.replace("\r", "")
