"""Where the time of a work goes: py-spy looks at the process that asks and at the one that answers.

It does not count a process that waits, so the shares of a work that another process does add up to less than all: the
rest is the way there and back.
"""

import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Final

import psutil

from scripts.host.runtime import StackError

PY_SPY: Final = Path(sys.executable).parent / "py-spy"
RATE: Final = 200  # looks a second
SECONDS: Final = 10  # for which it looks at a work
SEEN_S: Final = 0.1  # between two looks whether it is done
OF_OURS: Final = re.compile(r"(\S+) \((seedcore/\S+)\.py\)")
OF_OTHERS: Final = re.compile(r"\((?:<frozen )?(\w+)")


def parts(raw: str) -> Counter[str]:
    """How often each function of ours, and each other package, was at work, with the C that it calls.

    Args:
        raw: what `py-spy record --format raw` wrote: a stack in each line, the outermost frame first, and its number.
    """
    found: Counter[str] = Counter()
    for line in raw.splitlines():
        stack, _, number = line.rpartition(" ")
        frame = stack.rpartition(";")[2]
        if ours := OF_OURS.search(frame):
            found[f"{ours[2]}: {ours[1]}"] += int(number)
        elif other := OF_OTHERS.search(frame):
            found[other[1]] += int(number)
    return found


def looked_at(processes: Mapping[str, int], work: Callable[[], object]) -> list[tuple[str, str, float]]:
    """What each process does of a work that is done again and again: its name, the part of the code, share of the time.

    Args:
        processes: the id of each by a name.
        work: to repeat.

    Raises:
        StackError: py-spy may not look at one.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        # Not blocking: a process that is stopped for each look is most often found in a call of the system.
        options = [f"--rate={RATE}", f"--duration={SECONDS}", "--format=raw", "--nolineno", "--nonblocking"]
        spies = {
            name: stack.enter_context(
                subprocess.Popen(
                    [PY_SPY, "record", f"--pid={pid}", *options, f"--output={folder / name}"],
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    text=True,
                )
            )
            for name, pid in processes.items()
        }
        while any(spy.poll() is None for spy in spies.values()):
            until = time.monotonic() + SEEN_S
            while time.monotonic() < until:
                work()
        for name, spy in spies.items():
            if spy.returncode:
                raise StackError(f"py-spy could not look at {name}; root may: {spy.communicate()[0]}")
        return [
            (name, part, number / (RATE * SECONDS))
            for name in processes
            for part, number in parts((folder / name).read_text()).most_common()
        ]


def listening_at(port: int) -> int:
    """The process that has computed most of those that listen there."""
    found: dict[int, float] = {}
    for process in psutil.process_iter():
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            ways = process.net_connections("tcp")
            if any(way.status == psutil.CONN_LISTEN and way.laddr.port == port for way in ways):
                found[process.pid] = sum(process.cpu_times()[:2])
    return max(found, key=found.__getitem__)
