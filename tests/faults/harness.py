"""Puts a stack under load, lets a fault happen, and says what was lost."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import httpx

from tests.faults.journal import Journal, Operation, Record, Verdict, judge, read_ends, read_journal, read_journals
from tests.faults.load import PROCESSES, STOP, HttpTarget, all_clients, look_at_the_end, missed_item
from tests.faults.stack import JOURNALS, FaultStack
from tests.stack.containers import run_in
from tests.waiting import wait_until

CALM_S: Final = 2.0  # of load before the fault, and of good answers after it
RECOVERY_DEADLINE_S: Final = 180.0  # until every client gets good answers again
LOAD_DEADLINE_S: Final = 120.0  # until the load has started, and until it has stopped
ALL_MISSES: Final = 10_000  # more than the tracker counts


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
        assert (self.verdict.lost, self.verdict.stale) == ([], [])
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


@contextmanager
def under_load(stack: FaultStack, fault: str, allowed_stall_s: float, seed: int, **knobs: str) -> Iterator[FaultRun]:
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
    verdict = judge(records, [*_final_state_by_http(stack, folder), *_final_state_by_manager(stack, name)])
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


def _final_state_by_http(stack: FaultStack, folder: Path) -> list[Record]:
    target = HttpTarget(str(stack.project.api.base_url))
    with Journal(folder / "http.end") as journal:
        look_at_the_end(target, journal, folder)
        counted = _misses(stack.project.api)
        now = time.monotonic()
        for client in all_clients(folder):
            item = missed_item(client)
            journal.write(Record(now, now, "end", Operation.MISS, item, counted.get(item, 0)))
    return list(read_journal(folder / "http.end"))


def _misses(api: httpx.Client) -> dict[str, int]:
    answer = api.get("/hot-items", params={"n": ALL_MISSES})
    assert answer.status_code == 200, answer.text
    return {hot["item_id"]: hot["misses"] for hot in answer.json()}


def _final_state_by_manager(stack: FaultStack, name: str) -> list[Record]:
    run_in(stack.load_node, "python", "-m", "tests.faults.load", "end", f"{JOURNALS}/{name}")
    return list(read_journal(stack.journals / name / "manager.end"))
