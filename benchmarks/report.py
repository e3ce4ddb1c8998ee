"""The table and the picture of a benchmark."""

import json
import math
import os
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import matplotlib.pyplot as plt
from rich.console import Console
from rich.table import Table

from benchmarks import bootstraps, from_machine
from benchmarks.many_clients import EMPTY_ROUTE, HTTP_GET, HTTP_PUT
from benchmarks.measure import Timing
from benchmarks.peers import BARE_RAY
from benchmarks.pictures import save_picture
from benchmarks.stack_times import BARE_CPU, BARE_MEMORY, CPU, MEMORY, RESTART, SAVE, START
from benchmarks.works import (
    BARE_ACTOR,
    DISKCACHE,
    GET,
    GET_ARRAY,
    GET_AT_ONCE,
    GET_IN_COROUTINE,
    GET_MANY,
    GET_OF_MILLION,
    GET_OF_THOUSAND,
    MISS,
    MOST_MISSED,
    ON_VALKEY,
    REDIS,
    SCRIPTED,
    SEEDCORE,
    SET,
    SET_ARRAY,
    SET_AT_ONCE,
    SET_IN_COROUTINE,
    SET_MANY,
)

Results = Mapping[str, Mapping[str, Timing]]
Figures = Mapping[str, float]

TARGET_HEADINGS: Final = ("target", "limit", "measured", "reached", "why not")
COLUMNS: Final = 2  # of the picture
WIDE: Final = 20  # times the shortest median, above which a scale is logarithmic
HEADINGS: Final = ("work", "system", "p50", "spread", "p99", "per second", "times as fast as SeedCore")
COMPARED: Final = ("work", "system", "p50 before", "p50 now", "times as long", "beyond both spreads")


@dataclass(frozen=True)
class Target:
    """What is to be reached.

    Args:
        name: in words.
        figure: the ratio, from the results.
        limit: that it is held to.
        at_least: whether the limit is the lowest figure, else it is the highest.
        why_not: what the limit is, where it is not reached.
    """

    name: str
    figure: Callable[[Results], float]
    limit: float
    at_least: bool = True
    why_not: str = ""

    def is_met(self, results: Results) -> bool:
        """Whether the figure is on the right side of the limit."""
        figure = self.figure(results)
        return figure >= self.limit if self.at_least else figure <= self.limit


def faster(work: str, peer: str) -> Callable[[Results], float]:
    """How many times as fast as a peer, by the medians."""
    return lambda results: results[work][peer].p50_s / results[work][SEEDCORE].p50_s


def over(work: str, other: str) -> Callable[[Results], float]:
    """How many times as long as another work of ours takes, by the medians."""
    return lambda results: results[work][SEEDCORE].p50_s / results[other][SEEDCORE].p50_s


def over_peer(work: str, peer: str) -> Callable[[Results], float]:
    """How many times as long as a peer takes, by the medians."""
    return lambda results: 1 / faster(work, peer)(results)


def over_empty_route(work: str) -> Callable[[Results], float]:
    """How many times as many requests a second as an empty route of the same server answers."""
    return lambda results: results[work][SEEDCORE].per_second / results[work][EMPTY_ROUTE].per_second


def on_valkey(work: str, peer: str) -> Callable[[Results], float]:
    """How many times as long as a peer our memory takes on the same server."""
    return lambda results: results[work][ON_VALKEY].p50_s / results[work][peer].p50_s


def at_once(work: str) -> Callable[[Results], float]:
    """How many times as many a second as one at a time."""
    one = {from_machine.GET_AT_ONCE: from_machine.GET, from_machine.SET_AT_ONCE: from_machine.SET}[work]
    return lambda results: results[work][SEEDCORE].per_second / results[one][SEEDCORE].per_second


TARGETS: Final = (
    Target(
        "get: times as fast as Redis",
        faster(GET, REDIS),
        10,
        why_not="SQLite's query takes half of it, Python the rest; diskcache does less, and does not reach it either",
    ),
    Target(
        "get: time over diskcache's",
        over_peer(GET, DISKCACHE),
        1.2,
        at_least=False,
        why_not="beside SQLite's query, half of it, there are the file's identity, a checksum, and the hits to report",
    ),
    Target("get: times as fast as a bare actor", faster(GET, BARE_ACTOR), 50),
    Target(
        "get of 1 million items: time over that of 1 thousand",
        over(GET_OF_MILLION, GET_OF_THOUSAND),
        1.5,
        at_least=False,
        why_not="SQLite reads each page that it has not cached with a system call; mapped into memory, a bad sector "
        "would end the process that reads",
    ),
    Target(
        "get that misses: time over one that hits",
        over(MISS, GET),
        1.5,
        at_least=False,
        why_not="it looks into two files, and is noted",
    ),
    Target("get in a coroutine: time over that in a thread", over(GET_IN_COROUTINE, GET), 1.5, at_least=False),
    Target(
        "64 gets at once: times redis.asyncio",
        faster(GET_AT_ONCE, REDIS),
        5,
        why_not="each coroutine is a task that the event loop ends and begins; as many gets after each other take a "
        "third less",
    ),
    Target(
        "set: time over Redis's",
        over_peer(SET, REDIS),
        1,
        at_least=False,
        why_not="SQLite takes 57 us of it in the writer, the Python around it as long, the socket there and back 40",
    ),
    Target(
        "set in a coroutine: time over that in a thread",
        over(SET_IN_COROUTINE, SET),
        1.5,
        at_least=False,
        why_not="the event loop takes a turn to send and one to receive",
    ),
    Target("64 sets at once: time over redis.asyncio's", over_peer(SET_AT_ONCE, REDIS), 1, at_least=False),
    Target(
        "top 10 of a million misses: time over Redis's sorted set", over_peer(MOST_MISSED, REDIS), 1, at_least=False
    ),
    Target(
        "10,000 items set: times Redis's pipeline",
        faster(SET_MANY, REDIS),
        1.5,
        why_not="for each item SQLite keeps two trees, half of the time; to encode it takes a third",
    ),
    Target(
        "10,000 items got: times Redis's pipeline",
        faster(GET_MANY, REDIS),
        2,
        why_not="SQLite takes half of it; the rest is a checksum and decoding, while Redis's client hands out bytes",
    ),
    Target(
        "HTTP get: requests per second over an empty route's",
        over_empty_route(HTTP_GET),
        0.85,
        why_not="a get finds, decodes and encodes an item; what both have in common takes half of what it did",
    ),
    Target(
        "HTTP put: requests per second over an empty route's",
        over_empty_route(HTTP_PUT),
        0.85,
        why_not="a put reads a body, and waits for a set that is durable",
    ),
    Target("100 MB array got: times as fast as Redis", faster(GET_ARRAY, REDIS), 50),
    Target("100 MB array set: times as fast as Redis", faster(SET_ARRAY, REDIS), 1),
    Target(
        "get from another machine: time over a bare actor's call",
        over_peer(from_machine.GET, BARE_ACTOR),
        1.2,
        at_least=False,
    ),
    Target(
        "set from another machine: time over a bare actor's call",
        over_peer(from_machine.SET, BARE_ACTOR),
        1.2,
        at_least=False,
    ),
    Target(
        "on Redis, get: time over the bare client's",
        on_valkey(GET, REDIS),
        1.2,
        at_least=False,
    ),
    Target(
        "on Redis, a miss: time over two gets of the bare client, of the organ's and of everybody's",
        lambda results: on_valkey(MISS, REDIS)(results) / 2,
        1.2,
        at_least=False,
    ),
    Target(
        "on Redis, get in a coroutine: time over redis.asyncio's",
        on_valkey(GET_IN_COROUTINE, REDIS),
        1.2,
        at_least=False,
        why_not="of the way there and back two thirds are the server and the client library",
    ),
    Target(
        "on Redis, set in a coroutine: time over redis.asyncio's with the same script",
        on_valkey(SET_IN_COROUTINE, SCRIPTED),
        1.2,
        at_least=False,
        why_not="of the way there and back two thirds are the server and the client library",
    ),
    Target(
        "on Redis, 64 sets at once: time over redis.asyncio's with the same script",
        on_valkey(SET_AT_ONCE, SCRIPTED),
        1.2,
        at_least=False,
    ),
    Target(
        "on Redis, top 10 of a million misses: time over the bare client's sorted set",
        on_valkey(MOST_MISSED, REDIS),
        1.2,
        at_least=False,
    ),
    Target(
        "on Redis, set: time over the bare client's with the same script",
        on_valkey(SET, SCRIPTED),
        1.2,
        at_least=False,
    ),
    Target(
        "on Redis, 10,000 items set: time over the bare client's with the same script",
        on_valkey(SET_MANY, SCRIPTED),
        1.2,
        at_least=False,
    ),
    Target(
        "on Redis, 64 gets at once: time over redis.asyncio's",
        on_valkey(GET_AT_ONCE, REDIS),
        1.2,
        at_least=False,
    ),
    Target(
        "on Redis, 10,000 items got: time over the bare client's",
        on_valkey(GET_MANY, REDIS),
        1.2,
        at_least=False,
    ),
    Target(
        "on Redis, 100 MB array got: time over the bare client's",
        on_valkey(GET_ARRAY, REDIS),
        1.2,
        at_least=False,
    ),
    Target(
        "on Redis, 100 MB array set: time over the bare client's",
        on_valkey(SET_ARRAY, REDIS),
        1.2,
        at_least=False,
    ),
    Target(
        "on Redis, get from another machine: time over the bare client's",
        on_valkey(from_machine.GET, REDIS),
        1.2,
        at_least=False,
    ),
    Target("64 gets at once from there: throughput over one at a time", at_once(from_machine.GET_AT_ONCE), 10),
    Target("64 sets at once from there: throughput over one at a time", at_once(from_machine.SET_AT_ONCE), 10),
    Target(
        "100 MB array set from there: time over `ray.put` and a call",
        over_peer(from_machine.SET_ARRAY, BARE_ACTOR),
        1.3,
        at_least=False,
        why_not="the array is on the disk of the head's machine when the call ends, which a bare actor saves itself",
    ),
    Target(
        "100 MB array got from there: time over `ray.get` of a call",
        over_peer(from_machine.GET_ARRAY, BARE_ACTOR),
        1.3,
        at_least=False,
        why_not="Ray copies it out of a file there, of a bare actor out of its memory",
    ),
    Target(
        "start of the stack: time over bare Ray's",
        over_peer(START, BARE_RAY),
        1.2,
        at_least=False,
        why_not="the services wait for each other, bootstrap for the nodes and the API for bootstrap; each of them "
        "imports Ray",
    ),
    Target("saved code to live, s", lambda results: results[SAVE][SEEDCORE].p50_s, 1.2, at_least=False),
    Target(
        "restart of the API: time over bare Ray's and the import",
        over_peer(RESTART, BARE_RAY),
        1.2,
        at_least=False,
        why_not="it first ends the API and its node in order, which the start of a bare node has nothing of",
    ),
    Target(
        "bootstrap of 100 singletons: time over bare Ray's",
        over_peer(bootstraps.new_work(bootstraps.MANY), BARE_RAY),
        1.05,
        at_least=False,
        why_not="each is done once, and two such runs differ by as much",
    ),
)
# How many times the other figure one may be, and why it is more.
MOST: Final = {
    CPU: (
        1.5,
        BARE_CPU,
        "each process of Ray's wakes up by itself, an idle actor for 0.8 %, and there are four more of them",
    ),
    MEMORY: (1.3, BARE_MEMORY, "beside Ray's own processes there are the API and three singletons, see profile.md"),
}


def rows(results: Results) -> list[tuple[str, ...]]:
    """The cells of the table, under `HEADINGS`."""
    return [
        (
            work,
            system,
            shown_time(timing.p50_s),
            "" if timing.spread is None else f"{timing.spread:.0%}",
            shown_time(timing.p99_s),
            f"{timing.per_second:,.0f}",
            f"{timings[SEEDCORE].p50_s / timing.p50_s:.3g}",
        )
        for work, timings in results.items()
        for system, timing in timings.items()
    ]


def medians(results: Results) -> dict[str, dict[str, dict[str, float | None]]]:
    """What `compared_rows` needs of a run, as JSON has it."""
    return {
        work: {system: {"p50_s": timing.p50_s, "spread": timing.spread} for system, timing in timings.items()}
        for work, timings in results.items()
    }


def compared_rows(results: Results, before: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """The cells of the table, under `COMPARED`: this run and an earlier one.

    Args:
        results: of this run.
        before: the `medians` of the earlier one.
    """
    found: list[tuple[str, ...]] = []
    for work, timings in results.items():
        for system, timing in timings.items():
            earlier = before.get(work, {}).get(system)
            if earlier is None:
                continue
            ratio = timing.p50_s / earlier["p50_s"]
            # What was measured once has no spread, so nothing is beyond it.
            spreads = (timing.spread, earlier["spread"])
            noise = math.inf if None in spreads else sum(spreads)
            verdict = "slower" if ratio > 1 + noise else "faster" if 1 / ratio > 1 + noise else ""
            found.append(
                (work, system, shown_time(earlier["p50_s"]), shown_time(timing.p50_s), f"{ratio:.2f}", verdict)
            )
    return found


def target_rows(results: Results, figures: Figures) -> list[tuple[str, ...]]:
    """Each target, the figure of this run, and whether it was reached; without those that were not measured."""
    found: list[tuple[str, ...]] = []
    for target in TARGETS:
        try:
            figure = target.figure(results)
        except KeyError:
            continue
        bound = f"{'at least' if target.at_least else 'at most'} {target.limit:g}"
        found.append((target.name, bound, f"{figure:.2f}", *_reached(target.is_met(results), target.why_not)))
    for name, figure in figures.items():
        times, other, why_not = MOST.get(name, (0, "", ""))
        bound = f"at most {times:g} times bare Ray's" if times else ""
        found.append(
            (
                name,
                bound,
                f"{figure:.1f}",
                *(_reached(figure <= times * figures[other], why_not) if times else ("", "")),
            )
        )
    return found


def _reached(is_met: bool, why_not: str) -> tuple[str, str]:
    return ("met", "") if is_met else ("not met", why_not)


def show(console: Console, results: Results, figures: Figures, before: Mapping[str, Any]) -> None:
    """Print the tables; the last one only if there is an earlier run to compare with."""
    tables = [(HEADINGS, rows(results)), (TARGET_HEADINGS, target_rows(results, figures))]
    if before:
        tables.append((COMPARED, compared_rows(results, before)))
    for headings, cells in tables:
        table = Table(*headings)
        for row in cells:
            table.add_row(*row)
        console.print(table)


def write(folder: Path, results: Results, figures: Figures) -> None:
    """Write `bench.md`, `bench.png`, and `bench.json` for `compared_rows` of a later run."""
    folder.mkdir(parents=True, exist_ok=True)
    parts = [
        "# The stack and its peers",
        f"Written by `make bench` on {datetime.now(UTC):%Y-%m-%d}: {machine()}.",
        markdown(HEADINGS, rows(results)),
        "## Targets",
        markdown(TARGET_HEADINGS, target_rows(results, figures)),
        "[The medians as a picture](bench.png). [Where time and memory go](profile.md).",
    ]
    (folder / "bench.md").write_text("\n\n".join(parts) + "\n")
    (folder / "bench.json").write_text(json.dumps(medians(results), indent=1) + "\n")
    _draw(folder / "bench.png", results)


def _draw(path: Path, results: Results) -> None:
    compared = {work: timings for work, timings in results.items() if len(timings) > 1}
    lines = -(-len(compared) // COLUMNS)
    figure, axes = plt.subplots(lines, COLUMNS, figsize=(12, 1.2 * lines), squeeze=False, layout="constrained")
    for axis in axes.flat[len(compared) :]:
        axis.axis("off")
    for axis, (work, timings) in zip(axes.flat, compared.items(), strict=False):
        medians = [timing.p50_s for timing in timings.values()]
        bars = axis.barh(list(timings), medians)
        axis.bar_label(bars, [shown_time(median) for median in medians], fontsize=7, padding=3)
        is_logarithmic = max(medians) > WIDE * min(medians)
        if is_logarithmic:
            axis.set_xscale("log")
            axis.set_xlim(min(medians) / 3, max(medians) * 5)
        else:
            axis.set_xlim(0, max(medians) * 1.2)
        axis.xaxis.set_visible(False)
        axis.invert_yaxis()
        axis.set_title(f"{work} (logarithmic)" if is_logarithmic else work, fontsize=9)
        axis.tick_params(labelsize=7)
    figure.supxlabel("median of one item", fontsize=9)
    save_picture(figure, path)
    plt.close(figure)


def machine() -> str:
    """Where this was measured, and with which versions."""
    versions = ", ".join(f"{name} {version(name)}" for name in ("ray", "redis", "diskcache"))
    return (
        f"{os.cpu_count()} CPUs, {_processor()}, Linux {platform.release()}, "
        f"Python {platform.python_version()}, {versions}"
    )


def markdown(headings: tuple[str, ...], cells: Sequence[tuple[str, ...]]) -> str:
    """A table."""
    lines = [headings, tuple("---" for _ in headings), *cells]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def shown_time(seconds: float) -> str:
    """Seconds in the unit that suits them."""
    if seconds >= 1:
        return f"{seconds:,.2f} s"
    return f"{seconds * 1e6:,.1f} us" if seconds < 1e-3 else f"{seconds * 1e3:,.2f} ms"


def _processor() -> str:
    found = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return found[0].partition(": ")[2] if found else platform.machine()
