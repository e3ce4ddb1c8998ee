"""Says which tests stay together when `make test` runs two at a time."""

import re

import pytest
from xdist.scheduler import LoadScopeScheduling

_WITH_RUNTIME = re.compile(r"\[(docker|local)\b")


class StackScheduling(LoadScopeScheduling):  # type: ignore[misc]  # it has no types
    """Keeps tests on one worker that share a cluster or a stack; each other test goes where there is room."""

    def _split_scope(self, nodeid: str) -> str:
        module = nodeid.partition("::")[0]
        if module.startswith("tests/cluster/"):
            return "tests/cluster"
        if module.startswith("tests/stack/"):
            runtime = _WITH_RUNTIME.search(nodeid)
            return f"{module} {runtime[1]}" if runtime else module
        return nodeid


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> StackScheduling:
    """For `--numprocesses`; its own `--dist=loadgroup` does not group with pytest 9."""
    return StackScheduling(config, log)
