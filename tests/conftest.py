"""Says which tests stay together when `make test` runs two at a time, which run alone, and where the stack runs."""

import os
from collections.abc import Generator

import pytest
from xdist.scheduler import LoadScopeScheduling

from scripts.host.docker_engine import connect_to_engine
from scripts.host.runtime import StackError
from tests.side_by_side import room_of_this_run

_ROOM = room_of_this_run()
# Modules whose tests share a stack.
_SHARE_A_STACK = tuple(f"tests/stack/test_{of}.py" for of in ("containers", "programs", "verbs"))
# What takes longest begins first, what takes shortest fills the gaps at the end.
_ORDER = ("app/", "tests/cluster/", "tests/stack/", "tests/template/test_status_page.py", "")


class StackScheduling(LoadScopeScheduling):  # type: ignore[misc]  # it has no types
    """Keeps tests on one worker that share a cluster or a stack; each other test goes where there is room."""

    def _split_scope(self, nodeid: str) -> str:
        module = nodeid.partition("::")[0]
        if module.startswith("tests/cluster/"):
            return "tests/cluster"
        if module in _SHARE_A_STACK:
            return "tests/stack"
        if module.startswith("app/"):  # the user's tests share a cluster
            return "app"
        return nodeid if module.startswith("tests/unit/") else module


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--runtime", choices=["docker", "local"], default=_default_runtime(), help="of the verbs' stack")
    parser.addoption("--engine", choices=["sqlite", "valkey"], default="sqlite", help="that keeps the memory")


def _default_runtime() -> str:
    """The one that `make up` takes."""
    if os.environ.get("SEEDCORE_REQUIRE_DOCKER") != "1":
        try:
            connect_to_engine()
        except StackError:
            return "local"
    return "docker"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: next(n for n, prefix in enumerate(_ORDER) if item.nodeid.startswith(prefix)))


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
