"""Checks that print one line each, for `verify` and `check_ray_client`."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from ray.exceptions import RayError

from seedcore.cluster import first_reason
from seedcore.errors import SeedCoreError


class CheckError(Exception):
    """Raised by a check that does not hold; the message says what is wrong and the remedy."""


@dataclass(frozen=True)
class Check:
    """One thing to prove.

    Args:
        title: what holds.
        run: proves it and returns the facts; raises CheckError, SeedCoreError or RayError if it does not hold.
    """

    title: str
    run: Callable[[], str]


def run_checks(checks: Iterable[Check]) -> bool:
    """Run them in order, print a line for each as it ends; whether all hold."""
    all_hold = True
    for check in checks:
        began = time.monotonic()
        try:
            line = f"✅ {check.title}: {check.run()}"
        except (CheckError, SeedCoreError) as error:
            line = f"❌ {check.title}: {error}"
            all_hold = False
        except RayError as error:
            line = f"❌ {check.title}: {first_reason(error)}. See `make monitor` and `make logs`."
            all_hold = False
        print(f"{line} ({time.monotonic() - began:.1f} s)", flush=True)
    return all_hold
