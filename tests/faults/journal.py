"""What the load generator did, on disk, and what that says about lost writes and stale reads.

Each item has one writer, which sets it to 1, 2, 3 ... and sometimes deletes it; a delete takes a number as well. So
every answer that a reader gets can be placed: a number that is too low is stale, a number that nobody wrote is wrong.
"""

import json
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Final, NamedTuple, Self

UNREPORTED_S: Final = 1.0  # reads are reported every 0.2 s
NEVER_WRITTEN: Final = 0
END_BYTES: Final = 64 * 1024


class Operation(StrEnum):
    """What a client asked for."""

    SET = "set"
    DELETE = "delete"
    GET = "get"
    MISS = "miss"  # a get of an item that nobody writes


class Record(NamedTuple):
    """One request and its answer.

    Times are of the machine's monotonic clock, in seconds, which all containers share.
    """

    started: float
    ended: float
    client: str
    operation: Operation
    item: str
    number: int | None  # that was written; of a get, the one that was found, or None
    error: str = ""  # why there was no good answer; empty if there was


class Journal:
    """Appends to one file; each record is with the kernel before the next request starts.

    Args:
        path: the file, of one process.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("a", buffering=1)

    def write(self, record: Record) -> None:
        """Append one record."""
        self._file.write(json.dumps(record) + "\n")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()


def read_journals(folder: Path) -> list[Record]:
    """All records of all processes, by the time of their start."""
    return sorted(record for path in folder.glob("*.journal") for record in read_journal(path))


def read_ends(folder: Path) -> Iterator[Record]:
    """The last records of each process."""
    for path in folder.glob("*.journal"):
        yield from read_journal(path, max(0, path.stat().st_size - END_BYTES))


def read_journal(path: Path, offset: int = 0) -> Iterator[Record]:
    """The records of one process, from about this offset in bytes on."""
    with path.open() as file:
        file.seek(offset)
        lines = file.read().splitlines(keepends=True)
    for line in lines[bool(offset) :]:
        if line.endswith("\n"):  # a process that is at work, or was killed, may have written half a line
            record = Record(*json.loads(line))
            yield record._replace(operation=Operation(record.operation))


@dataclass
class _Writes:
    """The writes to one item, in their order, which is that of their numbers."""

    by_number: dict[int, Record] = field(default_factory=dict)
    acknowledged: list[int] = field(default_factory=list)  # their numbers
    ends: list[float] = field(default_factory=list)  # when they were

    def add(self, record: Record) -> None:
        number = record.number or NEVER_WRITTEN
        self.by_number[number] = record
        if not record.error:
            self.acknowledged.append(number)
            self.ends.append(record.ended)

    def last_acknowledged_before(self, time: float) -> int:
        position = bisect_left(self.ends, time)
        return self.acknowledged[position - 1] if position else NEVER_WRITTEN

    def may_be(self, number: int | None, asked: float, answered: float) -> bool:
        """Whether a read between these times may find this number, or nothing if it is None."""
        floor = self.last_acknowledged_before(asked)
        if number is None:
            return floor == NEVER_WRITTEN or any(
                record.operation is Operation.DELETE and later >= floor and record.started < answered
                for later, record in self.by_number.items()
            )
        write = self.by_number.get(number)
        return write is not None and number >= floor and write.operation is Operation.SET and write.started < answered


@dataclass(frozen=True)
class Verdict:
    """What a journal says.

    Args:
        acknowledged: writes that were answered well.
        reads: gets that were answered well.
        failed: requests that were not.
        lost: items that do not hold the last value that was acknowledged, nor a later one that was tried.
        stale: reads that found another value than one that they might find.
        longest_stall_s: the longest time that one client was without a good answer.
        errors: the different errors, each with the number of requests that it ended.
    """

    acknowledged: int
    reads: int
    failed: int
    lost: list[str]
    stale: list[Record]
    longest_stall_s: float
    errors: dict[str, int]


def judge(records: Iterable[Record], final: Iterable[Record]) -> Verdict:
    """Hold every read against the writes, and the final state against what was acknowledged.

    Args:
        records: of the load, by the time of their start.
        final: gets of every item after the load has ended, and the number of misses of each item that was missed.
    """
    records = list(records)
    writes: dict[str, _Writes] = defaultdict(_Writes)
    misses: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        if record.operation in (Operation.SET, Operation.DELETE):
            writes[record.item].add(record)
        elif record.operation is Operation.MISS:
            misses[record.item].append(record)
    reads = [record for record in records if record.operation is Operation.GET and not record.error]
    stale = [read for read in reads if not writes[read.item].may_be(read.number, read.started, read.ended)]
    stale += _went_back(reads)
    failures = sorted(record.ended for record in records if record.error)
    lost = []
    for record in final:
        if record.operation is Operation.MISS:
            asked = misses[record.item]
            counted = record.number or 0
            wanted = sum(not miss.error and not _may_be_unreported(miss, failures) for miss in asked)
            if counted < wanted:
                lost.append(f"{record.item}: {counted} misses counted of {wanted}")
            if counted > len(asked):
                stale.append(record)
        elif record.error or not writes[record.item].may_be(record.number, record.started, record.ended):
            floor = writes[record.item].last_acknowledged_before(record.started)
            lost.append(f"{record.item}: {record.error or record.number}, acknowledged was {floor}")
    errors: dict[str, int] = defaultdict(int)
    for record in records:
        if record.error:
            errors[record.error] += 1
    return Verdict(
        acknowledged=sum(len(of_item.acknowledged) for of_item in writes.values()),
        reads=len(reads) + sum(not miss.error for of_item in misses.values() for miss in of_item),
        failed=sum(errors.values()),
        lost=lost,
        stale=stale,
        longest_stall_s=_longest_stall(records),
        errors=dict(errors),
    )


def _may_be_unreported(miss: Record, failures: list[float]) -> bool:
    """Whether the process that counted the miss may have died before it told; requests failed just afterwards then."""
    position = bisect_left(failures, miss.ended)
    return position < len(failures) and failures[position] - miss.ended < UNREPORTED_S


def _went_back(reads: list[Record]) -> list[Record]:
    """Reads that found an older value than a read that had ended before they started."""
    found = []
    by_item: dict[str, list[Record]] = defaultdict(list)
    for read in reads:
        if read.number is not None:
            by_item[read.item].append(read)
    for of_item in by_item.values():
        highest_ended: list[tuple[float, int]] = []  # ends, with the highest number until then
        highest = NEVER_WRITTEN
        for end, number in sorted((read.ended, read.number or 0) for read in of_item):
            highest = max(highest, number)
            highest_ended.append((end, highest))
        for read in of_item:
            position = bisect_left(highest_ended, (read.started, 0))
            if position and highest_ended[position - 1][1] > (read.number or 0):
                found.append(read)
    return found


def _longest_stall(records: Iterable[Record]) -> float:
    longest = 0.0
    waiting_since: dict[str, float] = {}
    for record in sorted(records, key=lambda record: record.ended):
        since = waiting_since.setdefault(record.client, record.started)
        longest = max(longest, record.ended - max(since, 0.0))
        if not record.error:
            waiting_since[record.client] = record.ended
    return longest
