"""The table and the picture of what the faults did."""

import os
import platform
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Final

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from benchmarks.pictures import save_picture
from tests.faults.harness import FaultRun, Row

BIN_S: Final = 0.5
COLUMNS: Final = 2  # of the picture
HEADINGS: Final = ("fault", "writes acknowledged", "reads", "lost", "stale", "failed", "longest stall", "allowed")
SHOWN_CHARACTERS: Final = 160  # of an error
EXPLANATION: Final = """Each row is one fault on the real containers, while nine clients in
three processes write and read, through the HTTP API and through `MwManager`.

- *lost*: items that did not hold the last value that was acknowledged, and misses that were not counted, unless their
  process died within the second in which it would have told
- *stale*: reads that found something older than what was acknowledged before, or that nobody had written, and misses
  that were counted twice
- *failed*: requests that were answered with an error, or not at all
- *longest stall*: the longest time that one client was without a good answer; *allowed* is what the test holds it to,
  with the time for which the fault itself lasts

[The requests over time]({picture}) show each fault at the dotted lines."""


class Report:
    """Collects one row for each fault, and writes the table after each, so that a run that ends early has told.

    Args:
        folder: for the table and the picture.
        engine: of the memory.
    """

    def __init__(self, folder: Path, engine: str) -> None:
        self.folder = folder
        self.rows: list[Row] = []
        name, self._arguments = (
            ("faults", "") if engine == "sqlite" else (f"faults-{engine}", f" ARGS=--engine={engine}")
        )
        self._table, self._picture = folder / f"{name}.md", folder / f"{name}.png"

    def add(self, run: FaultRun) -> None:
        """Take the row of a run that has ended."""
        self.add_row(run.finished)

    def add_row(self, row: Row) -> None:
        """Take the row of a fault that had no load around it."""
        self.rows.append(row)
        self.folder.mkdir(parents=True, exist_ok=True)
        parts = (self._heading(), self.table(), self._errors())
        self._table.write_text("\n\n".join(parts) + "\n")

    def draw(self) -> None:
        """Make the picture of all rows; at the end, since it takes the machine that is under test."""
        rows = [row for row in self.rows if row.answers]
        lines = max(1, -(-len(rows) // COLUMNS))
        figure, axes = plt.subplots(lines, COLUMNS, figsize=(14, 2.2 * lines), squeeze=False, layout="constrained")
        for axis in axes.flat[len(rows) :]:
            axis.axis("off")
        for row, axis in zip(rows, axes.flat, strict=False):
            _draw_row(axis, row)
        save_picture(figure, self._picture)
        plt.close(figure)

    def table(self) -> str:
        """In Markdown, which reads well in a terminal too."""
        cells = [HEADINGS, *(_cells(row) for row in self.rows)]
        widths = [max(len(line[column]) for line in cells) for column in range(len(HEADINGS))]
        lines = [
            "| " + " | ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)) + " |"
            for line in cells
        ]
        lines.insert(1, "| " + " | ".join("-" * width for width in widths) + " |")
        return "\n".join(lines)

    def _heading(self) -> str:
        seeds = ", ".join(sorted({str(row.seed) for row in self.rows}))
        machine = f"{os.cpu_count()} CPUs, Linux {platform.release()}, Ray {version('ray')}"
        made = (
            f"Written by `make faults{self._arguments}` on {datetime.now(UTC):%Y-%m-%d}: {machine}, seed of the load "
            f"{seeds}."
        )
        return f"# What the faults did\n\n{made} {EXPLANATION.format(picture=self._picture.name)}"

    def _errors(self) -> str:
        parts = []
        for row in self.rows:
            for error, times in sorted(row.verdict.errors.items(), key=lambda item: -item[1]):
                parts.append(f"- {row.fault}: {times} times `{error[:SHOWN_CHARACTERS]}`")
        return "\n".join(["What the failed requests were told:", "", *parts]) if parts else "No request failed."


def _cells(row: Row) -> tuple[str, ...]:
    verdict = row.verdict
    return (
        row.fault,
        str(verdict.acknowledged),
        str(verdict.reads),
        str(len(verdict.lost)),
        str(len(verdict.stale)),
        str(verdict.failed),
        f"{verdict.longest_stall_s:.2f} s",
        f"{row.allowed_stall_s:g} s",
    )


def _draw_row(axis: Axes, row: Row) -> None:
    end = max(at for at, _ in row.answers)
    bins = np.arange(0, end + BIN_S, BIN_S)
    for good, colour, label in ((True, "tab:blue", "answered"), (False, "tab:red", "failed")):
        counts, edges = np.histogram([at for at, ok in row.answers if ok is good], bins)
        axis.step(edges[:-1], counts / BIN_S, where="post", color=colour, label=label, linewidth=1)
    for at, what in row.marks:
        axis.axvline(at, color="black", linestyle=":", linewidth=1)
        axis.text(at, axis.get_ylim()[1], f" {what}", rotation=90, va="top", ha="right", fontsize=6)
    axis.set_title(row.fault.replace("`", ""), fontsize=9)
    axis.set_xlabel("seconds", fontsize=8)
    axis.set_ylabel("requests/s", fontsize=8)
    axis.tick_params(labelsize=7)
    axis.legend(fontsize=6, loc="lower left")
