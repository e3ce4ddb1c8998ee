"""Times the same work on several systems in turns."""

import gc
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

import numpy as np

Operation = Callable[[], object]

WARM_UP: Final = 3  # operations of each system that do not count
MIN_OPERATIONS: Final = 3  # of each system, however long one takes
PARTS: Final = 5  # of a run, whose medians tell how steady it was


@dataclass
class Timing:
    """What a work took on one system.

    Args:
        units: items or requests in one operation.
        seconds: of each operation.
    """

    units: int
    seconds: list[float] = field(default_factory=list)

    @property
    def p50_s(self) -> float:
        """Median time of one unit, in seconds."""
        return float(np.percentile(self.seconds, 50)) / self.units

    @property
    def p99_s(self) -> float:
        """99th percentile of the time of one unit, in seconds; of operations with many units, of their mean."""
        return float(np.percentile(self.seconds, 99)) / self.units

    @property
    def per_second(self) -> float:
        """Units done in a second."""
        return self.units * len(self.seconds) / sum(self.seconds)

    @property
    def spread(self) -> float | None:
        """How far the median of a part of the run lies from that of the whole, at most, as a share of it; None if there
        was one operation only.
        """
        if len(self.seconds) < 2:
            return None
        parts = np.array_split(self.seconds, min(PARTS, len(self.seconds)))
        whole = np.percentile(self.seconds, 50)
        return float(max(abs(np.percentile(part, 50) - whole) for part in parts) / whole)

    @contextmanager
    def measured(self) -> Iterator[None]:
        """Note how long the block takes; for those of milliseconds, since it takes a microsecond itself."""
        began = time.perf_counter()
        yield
        self.seconds.append(time.perf_counter() - began)


def in_turns(
    operations: Mapping[str, Operation], units: int, seconds: float, rounds: int, tick: Callable[[], None]
) -> dict[str, Timing]:
    """Time each system's operation for about `seconds`, in as many turns as rounds.

    Args:
        operations: by system.
        units: items or requests in one operation.
        seconds: for each system in all.
        rounds: of turns, so that what disturbs the machine disturbs all of them.
        tick: called after each turn of each system.
    """
    timings = {system: Timing(units) for system in operations}
    for operation in operations.values():
        for _ in range(WARM_UP):
            operation()
    gc.collect()
    for _ in range(rounds):
        for system, operation in operations.items():
            end = time.perf_counter() + seconds / rounds
            done = 0
            while done < MIN_OPERATIONS / rounds or time.perf_counter() < end:
                began = time.perf_counter()
                operation()
                timings[system].seconds.append(time.perf_counter() - began)
                done += 1
            tick()
    return timings
