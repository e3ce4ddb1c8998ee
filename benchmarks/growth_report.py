"""The tables and the picture of how costs grow."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import matplotlib.pyplot as plt

from benchmarks.growth import OF_BYTES, OF_CLIENTS, OF_ITEMS, Growth
from benchmarks.pictures import save_picture
from benchmarks.report import machine, markdown, shown_time

MARKERS: Final = "osv^Dx*"

# Why each curve bends where it does.
WHY: Final = {
    OF_ITEMS: (
        "A look goes where the item's name says, in one search: it is one page deeper for each factor of some hundred "
        "items, and a page that SQLite has not cached is read with a system call. A get that misses looks into two "
        "stores. The most missed are kept sorted by number; where all are alike, as here, they are sorted by name."
    ),
    OF_BYTES: (
        "From 256 KiB on an array is a file beside the store, which a get maps into memory: it is read, or not, by "
        "whoever uses it. Below that a get copies it, and a set carries it to the writer. A large set is as quick as "
        "the disk."
    ),
    OF_CLIENTS: (
        "Gets need nobody else, so together they are as quick as there are processors. Sets meet in one writer, which "
        "keeps those that wait for it in one transaction."
    ),
}


def write(folder: Path, growth: Growth) -> None:
    """Write `growth.md` and `growth.png`."""
    folder.mkdir(parents=True, exist_ok=True)
    parts = [
        "# How costs grow",
        f"Written by `make bench ARGS=--growth` on {datetime.now(UTC):%Y-%m-%d}: {machine()}. Each figure is the "
        "median time of one operation. [As a picture](growth.png).",
    ]
    for what, operations in growth.curves.items():
        sizes = dict.fromkeys(size for points in operations.values() for size, _ in points)
        cells = [(f"{size:,}", *(shown_time(dict(points)[size]) for points in operations.values())) for size in sizes]
        parts += [f"## {what[0].upper()}{what[1:]}", markdown((what, *operations), cells), WHY[what]]
    parts += ["## Disk, memory, restarts", markdown(("what", "measured"), list(growth.facts.items()))]
    (folder / "growth.md").write_text("\n\n".join(parts) + "\n")
    _draw(folder / "growth.png", growth)


def _draw(path: Path, growth: Growth) -> None:
    figure, axes = plt.subplots(1, len(growth.curves), figsize=(14, 4.5), layout="constrained")
    for axis, (what, operations) in zip(axes, growth.curves.items(), strict=True):
        for (operation, points), marker in zip(operations.items(), MARKERS, strict=False):
            axis.loglog(
                *zip(*[(size, seconds * 1e6) for size, seconds in points], strict=True), marker=marker, label=operation
            )
        axis.set_xlabel(what)
        axis.grid(alpha=0.3)
        axis.legend(fontsize=7)
    axes[0].set_ylabel("median of one operation, us")
    save_picture(figure, path)
    plt.close(figure)
