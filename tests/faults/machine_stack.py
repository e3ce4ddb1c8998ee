"""Two machines under load, without Docker: what hurts the second one, its cable and the head's machine."""

import subprocess
from pathlib import Path
from shutil import copytree
from typing import Final

from seedcore.settings import PROJECT_ROOT
from tests.faults.load import STOP
from tests.faults.machine_engines import MachineEngines
from tests.machines.machine import HEAD_PORTS, WORKER_PORTS, Machine
from tests.waiting import wait_until

# A process that ends too early is started again, as supervisor does it with whatever lives on a machine.
AGAIN: Final = 'until [[ -e $0 ]]; do "$@"; done'
ON_SECOND: Final = ("coroutines", "manager-end")
END_DEADLINE_S: Final = 120.0


class MachineStack:
    """The stack of the head's machine, and a second machine that has joined it.

    Args:
        head: is up.
        second: has joined it.
        journals: folder for what the load writes down, which both see.
        engines: that keep the memory, some of them on these two; None is SQLite.
    """

    def __init__(self, head: Machine, second: Machine, journals: Path, engines: MachineEngines | None = None) -> None:
        self.head = head
        self.second = second
        self.journals = journals
        self._engines = engines
        self._running: dict[str, _OnMachine] = {}
        for machine in (head, second):
            copytree(PROJECT_ROOT / "tests", machine.folder / "tests", dirs_exist_ok=True)
        self.close_all_other_ports()

    def close_all_other_ports(self) -> None:
        """Let in what docs/cluster.md lists and the servers of the memory have, and nothing else."""
        of_engines = self._engines.ports if self._engines else ()
        self.head.let_in(*HEAD_PORTS, *of_engines)
        self.second.let_in(WORKER_PORTS, *of_engines)

    def switch_on(self, machine: Machine) -> None:
        """With its firewall and its servers, after a power cut."""
        machine.boot()
        self.close_all_other_ports()
        if self._engines:
            self._engines.start(machine)

    def wait_until_whole(self) -> None:
        """Both machines are heard of, and all singletons answer."""

        def is_whole() -> bool:
            status = self.head.status()
            heard = {node["address"] for node in status["nodes"] if node["alive"]}
            return heard == {self.head.address, self.second.address} and all(
                actor["running"] for actor in status["actors"]
            )

        wait_until(is_whole, 180)
        if self._engines:
            self._engines.wait_until_settled()

    def repair(self) -> None:
        """Switch on and join what a fault has left otherwise because its test failed."""
        for machine in (self.head, self.second):
            machine.plug_cable()
        self.wait_until_whole()

    def start_load_process(self, process: str, folder: str, seed: int, **knobs: str) -> "_OnMachine":
        """Start one of tests.faults.load's processes; `coroutines` on the second machine."""
        machine = self.second if process in ON_SECOND else self.head
        self._running[process] = _OnMachine(machine, process, self.journals / folder, seed, knobs)
        return self._running[process]

    def look_at_the_end(self, process: str, folder: str) -> None:
        """Run one of its `ENDS`, the one without HTTP on the second machine."""
        running = self.start_load_process(process, folder, 0)
        assert running.wait(END_DEADLINE_S) == 0, running.log

    def go_on_with_load(self, machine: Machine) -> None:
        """Start its processes of the load anew, after it was switched on."""
        for running in self._running.values():
            running.start_again(machine)


class _OnMachine:
    """One process of the load."""

    def __init__(self, machine: Machine, process: str, folder: Path, seed: int, knobs: dict[str, str]) -> None:
        self._machine = machine
        self._folder = folder
        self._log = folder / f"{process}.log"
        self._knobs = knobs
        module = ["tests.faults.load", process, str(folder), str(seed)]
        if process.startswith("http"):
            self._command = [str(machine.folder / ".venv/bin/python"), "-m", *module]
        else:
            self._command = machine.in_stack(*module)
        self._is_load = not process.endswith("-end")
        self._running = self._start()

    def start_again(self, machine: Machine) -> None:
        """If it was of this machine."""
        if self._machine is machine and self._is_load:
            self._running = self._start()

    def wait(self, timeout: float) -> int:
        """Its exit code."""
        return self._running.wait(timeout)

    @property
    def log(self) -> str:
        """What it said."""
        return self._log.read_text(errors="replace")

    def _start(self) -> "subprocess.Popen[bytes]":
        again = ["bash", "-c", AGAIN, str(self._folder / STOP)] if self._is_load else []
        with self._log.open("ab") as log:
            return self._machine.start(
                *again,
                *self._command,
                log=log,
                API_URL="http://127.0.0.1:8000",
                RUNTIME="local",
                **self._knobs,
            )
