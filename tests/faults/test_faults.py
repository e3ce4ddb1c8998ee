"""Whatever is killed, cut off or paused: no acknowledged write is lost, no read is stale, and it comes back."""

import pytest

from tests.faults.catalogue import FAULTS
from tests.faults.harness import Fault, under_load
from tests.faults.report import Report
from tests.faults.stack import FaultStack


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.inject.__name__)
def test_fault(
    request: pytest.FixtureRequest, fault: Fault[FaultStack], stack: FaultStack, report: Report, seed: int
) -> None:
    keeper = request.config.getoption("--engine")
    if fault.only_on not in ("", keeper):
        pytest.skip(f"the memory is on {keeper}: {fault.only_on} has no part in it")
    with under_load(stack, fault.name, fault.allowed_stall_s, seed, **fault.knobs) as run:
        fault.inject(stack, run)
    report.add(run)
    fault.check(run)
