"""Checks that print one line each, for `doctor` and `verify`. Knows no Ray, since the host has none of it."""

import json
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass

from seedcore.errors import SeedCoreError


class CheckError(Exception):
    """Raised by a check that does not hold; the message says what is wrong and the remedy."""


class DoesNotApplyError(Exception):
    """Raised by a check of something that is not there; the message says what is not."""


@dataclass(frozen=True)
class Check:
    """One thing to prove.

    Args:
        title: what holds.
        run: proves it and returns the facts; raises CheckError or SeedCoreError if it does not hold, and
            DoesNotApplyError if it need not.
    """

    title: str
    run: Callable[[], str]


@dataclass(frozen=True)
class Result:
    """What came of a check.

    Args:
        title: of the check.
        holds: whether it does; None if it does not apply.
        detail: the facts, or what is wrong and what to do.
        seconds: that it took.
    """

    title: str
    holds: bool | None
    detail: str
    seconds: float

    @property
    def line(self) -> str:
        """The result for people."""
        mark = {True: "✅", False: "❌", None: "➖"}[self.holds]
        return f"{mark} {self.title}: {self.detail} ({self.seconds:.1f} s)"


def run_check(check: Check) -> Result:
    """Run one."""
    began = time.monotonic()
    try:
        holds, detail = True, check.run()
    except DoesNotApplyError as error:
        return Result(check.title, None, str(error), time.monotonic() - began)
    except (CheckError, SeedCoreError) as error:
        holds, detail = False, str(error)
    return Result(check.title, holds, detail, time.monotonic() - began)


def run_checks(checks: Iterable[Check], *, as_json: bool = False) -> bool:
    """Run them in order and print a line for each as it ends, text or JSON; whether all hold."""
    return report(map(run_check, checks), as_json=as_json)


def report(results: Iterable[Result], *, as_json: bool) -> bool:
    """Print a line for each as it comes; whether all hold."""
    all_hold = True
    for result in results:
        print(json.dumps(asdict(result), ensure_ascii=False) if as_json else result.line, flush=True)
        all_hold &= result.holds is not False
    return all_hold
