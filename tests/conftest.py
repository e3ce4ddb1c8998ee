"""Says which tests stay together when `make test` runs two at a time, and which run alone."""

import re
from collections.abc import Generator
from pathlib import Path

import pytest
from xdist.scheduler import LoadScopeScheduling

from tests.side_by_side import room_of_this_run

_ROOM = room_of_this_run()
_WITH_RUNTIME = re.compile(r"\[(docker|local)\b")
_WITHOUT_DOCKER = "_without_docker"
# Modules whose tests share the one stack of a runtime: of this one, unless a test's name has another.
_SHARE_A_STACK = {
    "test_containers": "docker",
    "test_status_page": "docker",
    "test_verbs": "docker",
    "test_local": "local",
}


class StackScheduling(LoadScopeScheduling):  # type: ignore[misc]  # it has no types
    """Keeps tests on one worker that share a cluster or a stack; each other test goes where there is room."""

    def _split_scope(self, nodeid: str) -> str:
        module = nodeid.partition("::")[0]
        if module.startswith("tests/cluster/"):
            return "tests/cluster"
        if module.startswith("tests/stack/"):
            runtime = _WITH_RUNTIME.search(nodeid)
            shared = _SHARE_A_STACK.get(Path(module).stem)
            if shared and nodeid.endswith(_WITHOUT_DOCKER):
                return "the local stack"
            if shared:
                return f"the {runtime[1] if runtime else shared} stack"
            return f"{module} {runtime[1]}" if runtime else module
        return nodeid


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> StackScheduling:
    """For `--numprocesses`; its own `--dist=loadgroup` does not group with pytest 9."""
    return StackScheduling(config, log)


@pytest.hookimpl(wrapper=True, tryfirst=True)  # outside of pytest-timeout, since to wait for room is no part of a test
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> Generator[None, object, object]:
    """Around setup, test and teardown. Those that run alone and follow each other wait once."""
    if _ROOM is None:
        return (yield)
    alone = item.get_closest_marker("alone") is not None
    _ROOM.enter(alone=alone)
    try:
        return (yield)
    finally:
        if not (alone and nextitem is not None and nextitem.get_closest_marker("alone")):
            _ROOM.leave()
