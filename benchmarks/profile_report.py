"""The tables of where time and memory go."""

from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from benchmarks.profiles import RATE, SECONDS
from benchmarks.report import machine, markdown, shown_time

LEAST: Final = 0.02  # of the time, below which a part is left out
LEAST_MIB: Final = 10.0


def write(
    folder: Path,
    shares: Iterable[tuple[str, str, str, float]],
    moments: Iterable[tuple[str, str, float]],
    memory: Iterable[tuple[str, str, float]],
) -> None:
    """Write `profile.md`.

    Args:
        folder: where to.
        shares: work, process, part of the code and its share of the time.
        moments: system, what has come that far in its start, and seconds after it began.
        memory: service, program and its MiB.
    """
    folder.mkdir(parents=True, exist_ok=True)
    time_cells = [(work, process, part, f"{share:.0%}") for work, process, part, share in shares if share >= LEAST]
    start_cells = [(system, what, shown_time(seconds)) for system, what, seconds in moments]
    memory_cells = [(service, program, f"{mib:.0f}") for service, program, mib in memory if mib >= LEAST_MIB]
    parts = [
        "# Where time and memory go",
        f"Written by `make bench ARGS=--profile` on {datetime.now(UTC):%Y-%m-%d}: {machine()}.",
        "## Time",
        f"py-spy looks {RATE} times a second, for {SECONDS} s, at the process that asks and at the one that answers, "
        "and a part counts with the C that it calls, SQLite among it. A thread that waits does not count: what is left "
        "of a work that another process does is the way there and back.",
        markdown(("work", "process", "part", "of the time"), time_cells),
        "## Start",
        "On Docker. A service starts when the one before it in this table is healthy, or has ended well.",
        markdown(("system", "what has come so far", "after"), start_cells),
        "## Memory",
        "Of the idle stack on Docker; what several processes share is shared among them.",
        markdown(("service", "program", "MiB"), memory_cells),
    ]
    (folder / "profile.md").write_text("\n\n".join(parts) + "\n")
