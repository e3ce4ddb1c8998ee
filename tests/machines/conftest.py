import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.machines.machine import Machine, Switch

NEEDED = ("ip", "iptables", "unshare", "nsenter", "faketime")


@pytest.fixture(scope="session")
def network() -> Iterator[None]:
    """Cables between machines; who is not root is skipped, or fails where SEEDCORE_REQUIRE_DOCKER=1."""
    missing = [f"the command {command}" for command in NEEDED if not shutil.which(command)]
    missing += ["root, which may make networks"] if os.getuid() else []
    if missing:
        (pytest.fail if os.environ.get("SEEDCORE_REQUIRE_DOCKER") == "1" else pytest.skip)(
            f"several machines need {', '.join(missing)}"
        )
    with Switch():
        yield


@pytest.fixture(scope="session")
def disks() -> Iterator[Path]:
    """A folder for the disks of all machines; not below /tmp, of which each has its own."""
    with TemporaryDirectory(dir="/var/tmp") as name:
        yield Path(name)


@pytest.fixture(scope="session")
def head(network: None, disks: Path) -> Iterator[Machine]:
    """The first machine, whose stack others can join."""
    machine = Machine(1, disks / "head")
    (machine.folder / ".env.local").write_text(f"CLUSTER_ADDRESS={machine.address}\n")
    machine.boot()
    try:
        machine.make("up")
        yield machine
    finally:
        machine.remove()


@pytest.fixture(scope="session")
def second(head: Machine, disks: Path) -> Iterator[Machine]:
    """Another machine, which has joined it."""
    machine = Machine(2, disks / "second")
    (machine.folder / ".env.local").write_text(f"RAY_TEMP_DIR={machine.small_disk}\n")
    machine.boot()
    try:
        machine.make("join", f"HEAD={head.address}", stdin=head.token)
        yield machine
    finally:
        machine.remove()
