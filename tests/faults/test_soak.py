"""Faults at random for as long as you like: `make soak MINUTES=10 SEED=1`."""

import random
import time

import pytest

from tests.faults.catalogue import FAULTS
from tests.faults.harness import under_load
from tests.faults.report import Report
from tests.faults.stack import FaultStack


@pytest.mark.timeout(0)  # each fault has deadlines of its own
def test_soak(stack: FaultStack, report: Report, seed: int, pytestconfig: pytest.Config) -> None:
    chance = random.Random(seed)
    began = time.monotonic()
    while time.monotonic() < began + 60 * pytestconfig.getoption("--minutes"):
        fault = chance.choice(FAULTS)
        with under_load(stack, fault.name, fault.allowed_stall_s, chance.randrange(10**6), **fault.knobs) as run:
            fault.inject(stack, run)
        report.add(run)
        fault.check(run)
