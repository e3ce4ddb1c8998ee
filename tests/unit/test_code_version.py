import os
import re
import sys
import tomllib
from pathlib import Path

import pytest

from seedcore.code_version import CODE, PROJECT_ROOT, ProcessCode, Sources, process_code

PACKAGE = "package_of_the_test"


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """With a module that is loaded, one that is not, and one in a folder."""
    folder = tmp_path / PACKAGE
    (folder / "inner").mkdir(parents=True)
    for name in ("__init__", "loaded", "other", "inner/__init__", "inner/deep"):
        (folder / f"{name}.py").write_text("VALUE = 1\n")
    for name in ("", ".loaded", ".inner", ".inner.deep"):
        monkeypatch.setitem(sys.modules, PACKAGE + name, sys)
    return folder


def write(path: Path, text: str) -> None:
    before = path.stat().st_mtime_ns if path.exists() else 0
    path.write_text(text)
    os.utime(path, ns=(before + 1000, before + 1000))  # as a later write, whatever the clock's step


def test_a_process_that_runs_what_is_on_the_disk_is_not_stale(package: Path) -> None:
    version = ProcessCode(Sources(package)).version()
    assert not version.is_stale
    assert version.changed == ()
    assert version.running == version.on_disk


@pytest.mark.parametrize("module", ["loaded", "inner/deep", "__init__"])
def test_a_changed_module_that_is_loaded_makes_it_stale_until_it_is_changed_back(package: Path, module: str) -> None:
    code = ProcessCode(Sources(package))
    before = code.version()
    write(package / f"{module}.py", "VALUE = 2\n")
    version = code.version()
    assert version.is_stale
    assert version.running == before.running != version.on_disk
    assert version.changed == (f"{PACKAGE}.{module}".replace("/", ".").removesuffix(".__init__"),)
    assert ProcessCode(Sources(package)).version().running == version.on_disk  # what a new process would run
    write(package / f"{module}.py", "VALUE = 1\n")
    assert code.version() == before


def test_modules_that_are_not_loaded_do_not_count(package: Path) -> None:
    code = ProcessCode(Sources(package))
    write(package / "other.py", "VALUE = 2\n")
    write(package / "new.py", "VALUE = 2\n")
    assert not code.version().is_stale


def test_a_loaded_module_that_was_deleted_counts_as_changed(package: Path) -> None:
    code = ProcessCode(Sources(package))
    (package / "loaded.py").unlink()
    assert code.version().changed == (f"{PACKAGE}.loaded",)


def test_a_lock_of_emacs_is_no_module(package: Path) -> None:
    before = Sources(package).modules()
    (package / ".#settings.py").symlink_to("somebody@somewhere.1234")
    assert Sources(package).modules() == before


def test_a_forked_process_can_begin_anew(package: Path) -> None:
    code = ProcessCode(Sources(package))
    write(package / "loaded.py", "VALUE = 2\n")
    code.begin()
    assert not code.version().is_stale


def test_this_process_knows_its_own_code() -> None:
    version = process_code.version()
    assert not version.is_stale
    assert version.running


@pytest.mark.parametrize("folder", CODE)
def test_a_folder_of_code_is_mounted_and_in_the_image_and_checked(folder: str) -> None:
    compose = (PROJECT_ROOT / "compose.yaml").read_text()
    assert f"  - &{folder} ./{folder}:/app/{folder}:ro\n" in compose
    mounts = re.findall(r"(?m)^    volumes: (\[\*.*\])", compose)
    assert len(mounts) == 4
    assert all(f"*{folder}," in mount for mount in mounts)
    assert f"\nCOPY {folder}/ {folder}/\n" in (PROJECT_ROOT / "images/Dockerfile").read_text()
    assert folder in tomllib.loads((PROJECT_ROOT / "pyproject.toml").read_text())["tool"]["mypy"]["files"]
