"""Puts a stack under load, lets a fault happen, and says what was lost."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Generic, Protocol, TypeVar

from tests.faults.journal import Verdict, judge, read_ends, read_journal, read_journals
from tests.faults.load import ENDS, PROCESSES, STOP, all_clients
from tests.waiting import wait_until

CALM_S: Final = 2.0  # of load before the fault, and of good answers after it
RECOVERY_DEADLINE_S: Final = 180.0  # until every client gets good answers again
LOAD_DEADLINE_S: Final = 120.0  # until the load has started, and until it has stopped


class LoadProcess(Protocol):
    """One process of the load, at work."""

    def wait(self, timeout: float) -> int:
        """Its exit code."""


class LoadedStack(Protocol):
    """A stack, and where the load runs.

    Args:
        journals: folder on this machine for what the load writes down.
    """

    journals: Path

    def repair(self) -> None:
        """Undo what an earlier fault has left behind because its test failed."""

    def start_load_process(self, process: str, folder: str, seed: int, **knobs: str) -> LoadProcess:
        """Start one of tests.faults.load's processes, where it belongs; knobs are of those that use `MwManager`."""

    def look_at_the_end(self, process: str, folder: str) -> None:
        """Run one of its `ENDS`."""


S = TypeVar("S", bound=LoadedStack)


@dataclass
class Row:
    """One line of the report.

    Args:
        fault: what was done.
        allowed_stall_s: how long a client may at most be without a good answer.
        verdict: what came of it.
        marks: when what happened, in seconds since the load began.
        answers: time, in the same seconds, and whether it was a good one, of each answer.
        seed: of the load.
    """

    fault: str
    allowed_stall_s: float
    verdict: Verdict
    marks: list[tuple[float, str]]
    answers: list[tuple[float, bool]]
    seed: int

    def check(self) -> None:
        """Hold what came of it to what every fault is held to."""
        assert (self.verdict.lost, self.verdict.stale) == ([], []), (self.verdict.lost, self.verdict.stale)
        assert self.verdict.longest_stall_s <= self.allowed_stall_s


@dataclass
class FaultRun:
    """A fault while it happens.

    Args:
        marks: when what happened, on the monotonic clock.
    """

    marks: list[tuple[float, str]] = field(default_factory=list)
    row: Row | None = None

    @property
    def finished(self) -> Row:
        """The row of a run that has ended."""
        assert self.row is not None
        return self.row

    def mark(self, what: str) -> None:
        """Note that something happens now; the picture shows it."""
        self.marks.append((time.monotonic(), what))


@dataclass(frozen=True)
class Fault(Generic[S]):
    """One way to hurt a stack.

    Args:
        name: what happens, for the report.
        inject: does it, and repairs what does not repair itself.
        allowed_stall_s: how long a client may at most be without a good answer.
        may_fail: whether requests may be answered with an error meanwhile.
        knobs: environment variables of the load that uses `MwManager`.
        only_on: the engine of the memory that it is about; "" is true of each.
    """

    name: str
    inject: Callable[[S, FaultRun], None]
    allowed_stall_s: float
    may_fail: bool = False
    knobs: dict[str, str] = field(default_factory=dict)
    only_on: str = ""

    def check(self, run: FaultRun) -> None:
        """Hold what came of it to what is promised."""
        run.finished.check()
        assert self.may_fail or not run.finished.verdict.errors


@contextmanager
def under_load(stack: LoadedStack, fault: str, allowed_stall_s: float, seed: int, **knobs: str) -> Iterator[FaultRun]:
    """Run the load around the block, which injects the fault and waits until the stack has recovered; then judge.

    Args:
        stack: is up.
        fault: what the block does, for the report.
        allowed_stall_s: how long a client may at most be without a good answer.
        seed: of the load's choices.
        knobs: environment variables of the load that uses `MwManager`.
    """
    stack.repair()
    name = f"{time.time_ns()}"
    folder = stack.journals / name
    folder.mkdir(mode=0o777)
    folder.chmod(0o777)
    run = FaultRun()
    running = [stack.start_load_process(process, name, seed, **knobs) for process in PROCESSES]
    try:
        _wait_for_good_answers(folder, time.monotonic(), LOAD_DEADLINE_S)
        _wait_for_good_answers(folder, time.monotonic() + CALM_S, LOAD_DEADLINE_S)
        yield run
        _wait_for_good_answers(folder, time.monotonic() + CALM_S, RECOVERY_DEADLINE_S)
    finally:
        (folder / STOP).touch()
        codes = [process.wait(LOAD_DEADLINE_S) for process in running]
    logs = "\n".join((folder / f"{process}.log").read_text(errors="replace")[-2000:] for process in PROCESSES)
    assert not any(codes), f"the load itself failed: {codes}\n{logs}"
    records = read_journals(folder)
    for process in ENDS:
        stack.look_at_the_end(process, name)
    verdict = judge(records, [record for process in ENDS for record in read_journal(folder / process)])
    began = min(record.started for record in records)
    run.row = Row(
        fault,
        allowed_stall_s,
        verdict,
        [(at - began, what) for at, what in run.marks],
        [(record.ended - began, not record.error) for record in records],
        seed,
    )


def _wait_for_good_answers(folder: Path, since: float, timeout_s: float) -> None:
    """Wait until every client has had one that it asked for after a time."""

    waiting = set(all_clients(folder))

    def all_have() -> bool:
        for record in read_ends(folder):
            if not record.error and record.started > since:
                waiting.discard(record.client)
        return not waiting

    wait_until(all_have, timeout_s)
