"""Checks that ask a running cluster: what Ray raises in them is explained like all else."""

from collections.abc import Callable
from functools import partial

from ray.exceptions import RayError

from scripts.checks import Check, CheckError
from seedcore.cluster.explain import first_reason


def cluster_check(title: str, run: Callable[[], str]) -> Check:
    """A check whose `run` may raise RayError as well.

    Args:
        title: what holds.
        run: as that of `Check`.
    """
    return Check(title, partial(_explained, run))


def _explained(run: Callable[[], str]) -> str:
    try:
        return run()
    except RayError as error:
        raise CheckError(f"{first_reason(error)}. See `make monitor` and `make logs`.") from error
