"""What the verbs remember of a stack, and which files and folders they take for its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.host import started
from scripts.host.docker_runtime import _is_another_checkout
from scripts.host.settings import load_host_settings
from scripts.host.started import Started, last_start
from scripts.host.verbs import backups
from seedcore.settings import PROJECT_ROOT

STACK = "of-a-test"
WRITE_ON_A_FULL_DISK = f"""
import resource
from scripts.host.started import Started
resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
Started("docker").write("{STACK}")
"""


def test_a_full_disk_leaves_what_was_remembered() -> None:
    before = Started("local", knobs={"API_PORT": "9000"})
    before.write(STACK)
    try:
        done = subprocess.run(
            [sys.executable, "-c", WRITE_ON_A_FULL_DISK], cwd=PROJECT_ROOT, check=False, capture_output=True
        )
        assert done.returncode != 0
        assert last_start(STACK) == before
    finally:
        started.forget(STACK)


def test_the_newest_backup_is_one_of_this_stack_that_its_date_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backups, "BACKUPS", tmp_path)
    settings = load_host_settings({"COMPOSE_PROJECT_NAME": "app"})
    newest = tmp_path / "app-20260102T030405Z.tar"
    for name in ("app-20250102T030405Z.tar", newest.name, "app-two-20270102T030405Z.tar", "app-before-upgrade.tar"):
        (tmp_path / name).touch()
    assert backups._newest_backup(settings) == newest


def test_whose_a_stack_is_by_the_folder_that_it_runs_from(tmp_path: Path) -> None:
    assert not _is_another_checkout(PROJECT_ROOT)
    assert not _is_another_checkout(tmp_path / "gone")
    (tmp_path / "compose.yaml").touch()
    assert _is_another_checkout(tmp_path)
    assert _is_another_checkout(Path(f"/{'x' * (os.pathconf('/', 'PC_NAME_MAX') + 1)}"))  # that cannot be looked at
