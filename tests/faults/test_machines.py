# ruff: noqa: F811 - fixtures
"""What happens to one machine of several costs nobody an acknowledged write, and what lives there comes back."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.faults.harness import Fault, FaultRun, under_load
from tests.faults.machine_engines import MachineEngines
from tests.faults.machine_stack import MachineStack
from tests.faults.report import Report
from tests.machines.conftest import disks, head, network, second  # noqa: F401
from tests.machines.machine import Machine

CUT_S: Final = 60.0  # above what TCP waits between two tries by then
JOIN_S: Final = 120.0  # a machine that is switched on, `make join` and its checks, Ray, the load


def power_cut_of_the_second(stack: MachineStack, run: FaultRun) -> None:
    run.mark("power cut")
    stack.second.cut_power()
    stack.switch_on(stack.second)
    run.mark("make join")
    stack.second.make("join", f"HEAD={stack.head.address}")
    stack.go_on_with_load(stack.second)
    stack.wait_until_whole()


def power_cut_of_the_head(stack: MachineStack, run: FaultRun) -> None:
    run.mark("power cut")
    stack.head.cut_power()
    stack.switch_on(stack.head)
    run.mark("make up")
    stack.head.make("up")
    stack.go_on_with_load(stack.head)
    stack.wait_until_whole()


def cable_out_for_20_s(stack: MachineStack, run: FaultRun) -> None:
    _cable_out(stack, run, 20)


def cable_out_for_90_s(stack: MachineStack, run: FaultRun) -> None:
    _cable_out(stack, run, 90)


def _cable_out(stack: MachineStack, run: FaultRun, seconds: float) -> None:
    run.mark("out")
    stack.second.pull_cable()
    try:
        time.sleep(seconds)
    finally:
        stack.second.plug_cable()
    run.mark("in")
    stack.wait_until_whole()


def slow_line(stack: MachineStack, run: FaultRun) -> None:
    run.mark("slow")
    with stack.second.slow_line():
        time.sleep(30)
    run.mark("fast")


def full_disk(stack: MachineStack, run: FaultRun) -> None:
    run.mark("full")
    filler = stack.second.small_disk / "filler"
    filled = stack.second.run("dd", "if=/dev/zero", f"of={filler}", "bs=1M")
    assert "No space left" in filled.stdout
    time.sleep(20)
    stack.second.run("rm", str(filler))
    run.mark("free")
    stack.wait_until_whole()


FAULTS: Final[tuple[Fault[MachineStack], ...]] = (
    Fault("power cut of a second machine, then `make join`", power_cut_of_the_second, JOIN_S, may_fail=True),
    Fault("the second machine's cable out for 20 s", cable_out_for_20_s, 20 + CUT_S),
    Fault("the second machine's cable out for 90 s", cable_out_for_90_s, 90 + CUT_S, may_fail=True),
    Fault("a slow line to it: 50 ms, 1 % lost, 10 Mbit/s", slow_line, 10.0),
    Fault("the second machine's disk full for 20 s", full_disk, 10.0),
    Fault("power cut of the head's machine, then `make up`", power_cut_of_the_head, JOIN_S, may_fail=True),
)


@pytest.fixture(scope="module")
def engines(
    request: pytest.FixtureRequest, head: Machine, second: Machine, disks: Path
) -> Iterator[MachineEngines | None]:
    """With --engine=valkey a cluster of servers on both machines and on a third, which the stack has moved to."""
    if request.config.getoption("--engine") == "sqlite":
        yield None
        return
    third = Machine(3, disks / "third")
    third.boot()
    try:
        engines = MachineEngines([head, second, third])
        for machine in (head, second):
            with (machine.folder / ".env.local").open("a") as settings:
                settings.write(f"MEMORY_URL={engines.url}\n")
        head.make("up")
        second.make("leave")
        second.make("join", f"HEAD={head.address}")
        yield engines
    finally:
        third.remove()


@pytest.fixture(scope="module")
def stack(head: Machine, second: Machine, disks: Path, engines: MachineEngines | None) -> MachineStack:
    """Two machines that work together, with a firewall each."""
    journals = disks / "journals"
    journals.mkdir()
    return MachineStack(head, second, journals, engines)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.inject.__name__)
def test_fault(fault: Fault[MachineStack], stack: MachineStack, report: Report, seed: int) -> None:
    with under_load(stack, fault.name, fault.allowed_stall_s, seed) as run:
        fault.inject(stack, run)
    report.add(run)
    fault.check(run)
