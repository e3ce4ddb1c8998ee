"""The table and the picture of what the faults did."""

from pathlib import Path
from typing import Final

import matplotlib as mpl

mpl.use("svg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from tests.faults.harness import FaultRun, Row

BIN_S: Final = 0.5
COLUMNS: Final = 2  # of the picture
HEADINGS: Final = ("fault", "writes acknowledged", "reads", "lost", "stale", "failed", "longest stall", "allowed")
SHOWN_CHARACTERS: Final = 160  # of an error


class Report:
    """Collects one row for each fault, and writes them down after each, so that a run that ends early has told.

    Args:
        folder: for `faults.md` and `faults.svg`.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.rows: list[Row] = []

    def add(self, run: FaultRun) -> None:
        """Take the row of a run that has ended."""
        self.add_row(run.finished)

    def add_row(self, row: Row) -> None:
        """Take the row of a fault that had no load around it."""
        self.rows.append(row)
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "faults.md").write_text(f"{self.table()}\n\n{self._errors()}\n")
        self._draw(self.folder / "faults.svg")

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

    def _errors(self) -> str:
        parts = []
        for row in self.rows:
            for error, times in sorted(row.verdict.errors.items(), key=lambda item: -item[1]):
                parts.append(f"- {row.fault}: {times} times `{error[:SHOWN_CHARACTERS]}`")
        return "\n".join(["What the failed requests were told:", "", *parts]) if parts else "No request failed."

    def _draw(self, path: Path) -> None:
        rows = [row for row in self.rows if row.answers]
        lines = max(1, -(-len(rows) // COLUMNS))
        figure, axes = plt.subplots(lines, COLUMNS, figsize=(14, 2.2 * lines), squeeze=False, layout="constrained")
        for axis in axes.flat[len(rows) :]:
            axis.axis("off")
        for row, axis in zip(rows, axes.flat, strict=False):
            _draw_row(axis, row)
        figure.savefig(path)
        plt.close(figure)


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
