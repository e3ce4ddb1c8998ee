import os
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from tests.faults.report import Report
from tests.faults.small_disk import small_volume
from tests.faults.stack import FaultStack
from tests.stack.conftest import engine, local_stack, shared_local_stack  # noqa: F401 - fixtures
from tests.stack.project import Project

REPORT = pytest.StashKey[Report]()
NEEDED = ("nsenter", "iptables", "strace", "mkfs.ext4", "losetup", "chattr")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--report", type=Path, default=Path(".local/faults"), help="folder for the table and the picture")
    parser.addoption("--minutes", type=float, default=0.0, help="how long to soak")
    parser.addoption("--seed", type=int, default=random.randrange(1_000_000), help="of the load, printed in the report")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    return True if collection_path.name == "test_soak.py" and not config.getoption("--minutes") else None


def pytest_report_header(config: pytest.Config) -> str:
    return f"seed of the load and of the soak: {config.getoption('--seed')}"


def pytest_runtest_setup(item: pytest.Item) -> None:
    marker = item.get_closest_marker("only_sqlite")
    if marker and item.config.getoption("--engine") != "sqlite":
        pytest.skip(marker.args[0])


def pytest_configure(config: pytest.Config) -> None:
    config.stash[REPORT] = Report(config.getoption("--report"), config.getoption("--engine"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    report = config.stash[REPORT]
    if report.rows:
        report.draw()
        terminalreporter.section("faults")
        terminalreporter.write_line(report.table())
        terminalreporter.write_line(f"\nThe table and the picture are in {report.folder}.")


@pytest.fixture(scope="session")
def report(request: pytest.FixtureRequest) -> Report:
    """What has been found so far."""
    return request.config.stash[REPORT]


@pytest.fixture(scope="session")
def seed(request: pytest.FixtureRequest) -> int:
    """Of the load's choices."""
    return int(request.config.getoption("--seed"))


# The image of the engine is built through the proxy that the shell names.
Project.shell = {name: value for name, value in Project.shell.items() if not name.lower().endswith("_proxy")}


@pytest.fixture(scope="session")
def stack(
    request: pytest.FixtureRequest,
    engine: docker.DockerClient,  # noqa: F811
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[FaultStack]:
    """A running stack of its own on Docker, with a node for the load beside it."""
    missing = [f"the command {command}" for command in NEEDED if not shutil.which(command)]
    if os.getuid() != 0:
        missing.append("root, which may signal the processes in containers")
    if missing:
        reason = f"the faults need {', '.join(missing)}"
        if os.environ.get("SEEDCORE_REQUIRE_DOCKER") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    keeper: str = request.config.getoption("--engine")
    knobs = {"COMPOSE_PROFILES": "valkey", "MEMORY_URL": "valkey://valkey"} if keeper == "valkey" else {}
    project = Project(tmp_path_factory.mktemp("faults") / "seedcore", "docker", WORKER_MEMORY="2g", **knobs)
    volume = "valkey" if keeper == "valkey" else "state"
    with small_volume(engine, project.name, volume, tmp_path_factory.mktemp("disk")) as disk:
        try:
            project.make("up")
            stack = FaultStack(project, engine, tmp_path_factory.mktemp("journals"), disk)
        except BaseException:
            project.remove()
            raise
        yield stack
        stack.remove()
