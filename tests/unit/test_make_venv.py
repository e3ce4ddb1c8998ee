"""What is said where no environment or image can be made, and what Python they take."""

import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from shutil import copytree, which

import pytest

from scripts.host.install_packages import REQUIREMENT_OF_UV
from seedcore.settings import PROJECT_ROOT

MAKE_VENV = PROJECT_ROOT / "scripts/host/make_venv.sh"
REQUIRE_BASE = PROJECT_ROOT / "images/require_base.sh"
TOOLS = ("bash", "sh", "cat", "sha256sum", "dirname", "sed", "sort", "tail", "grep", "mkdir", "rm", "touch")

Machine = Callable[..., Path]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A folder of programs, for PATH: what every system has, and scripts of these names and contents."""

    def make(**programs: str) -> Path:
        folder = tmp_path / "bin"
        folder.mkdir()
        for tool in TOOLS:
            (folder / tool).symlink_to(str(which(tool)))
        for name, script in programs.items():
            program = folder / name.replace("_", "-").replace("-dot-", ".")
            program.write_text(f"#!/bin/sh\n{script}\n")
            program.chmod(0o755)
        return folder

    return make


def make_venv(tmp_path: Path, programs: Path, **environment: str) -> str:
    """What it says when it must fail, in a checkout without an environment."""
    copytree(PROJECT_ROOT / "scripts", tmp_path / "my checkout/scripts")
    done = subprocess.run(
        [tmp_path / "my checkout/scripts/host/make_venv.sh", PROJECT_ROOT / "requirements-dev.lock"],
        env={"PATH": str(programs), **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done
    assert done.stdout == ""
    assert not (tmp_path / "my checkout/.venv").exists()
    return done.stderr


APT = "printf 'python3.11\\npython3.11-venv\\npython3.13\\npython3.13-dev\\npython3.1-other\\n'"


def test_an_old_python_is_named_with_the_package_that_helps(machine: Machine, tmp_path: Path) -> None:
    said = make_venv(tmp_path, machine(python3="echo 3.10", apt_cache=APT))
    assert said == (
        "Python 3.11 to 3.14 is needed; python3 is 3.10.\n"
        "This system has a package of one: apt install python3.13 python3.13-venv\n"
    )


@pytest.mark.parametrize("packages", ["", "true", "printf 'python3.10\\npython3.15\\n'"])
def test_where_no_package_helps_uv_does(machine: Machine, tmp_path: Path, packages: str) -> None:
    said = make_venv(tmp_path, machine(python3="echo 3.10", **({"apt_cache": packages} if packages else {})))
    assert "uv python install 3.13" in said
    assert "apt install" not in said


def test_a_python_that_is_too_new_is_refused_like_an_old_one(machine: Machine, tmp_path: Path) -> None:
    assert "python3 is 3.15" in make_venv(tmp_path, machine(python3="echo 3.15"))


def test_without_a_python_that_is_said(machine: Machine, tmp_path: Path) -> None:
    assert "there is no python3." in make_venv(tmp_path, machine())


def test_the_python_of_the_knob_is_the_only_one_that_counts(machine: Machine, tmp_path: Path) -> None:
    programs = machine(python3="echo 3.12", python2="echo 2.7")
    said = make_venv(tmp_path, programs, PYTHON_FOR_VENV=str(programs / "python2"))
    assert f"{programs / 'python2'} is 2.7." in said


NEEDS = "a base image (BASE_IMAGE) needs Debian or Ubuntu with python3 3.11 to 3.14; this one "


def require_base(programs: Path) -> str:
    """What the first step of the build says when it must fail."""
    done = subprocess.run(
        ["sh", REQUIRE_BASE], env={"PATH": str(programs)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1, done
    return done.stderr.strip()


@pytest.mark.parametrize("system", [{}, {"python3": "echo 3.12"}])
def test_a_base_image_that_is_no_debian(machine: Machine, system: dict[str, str]) -> None:
    said = require_base(machine(**system))
    assert said.startswith(f"{NEEDS}is ")
    assert "\n" not in said


@pytest.mark.parametrize("version", ["3.10", "3.9", "3.15", "2.7"])
def test_a_base_image_with_another_python(machine: Machine, version: str) -> None:
    said = require_base(machine(apt_get="true", python3=f"echo {version}"))
    assert said.startswith(f"{NEEDS}is ")
    assert said.endswith(f"with Python {version}")


def test_a_base_image_without_python(machine: Machine) -> None:
    assert require_base(machine(apt_get="true")).endswith("without python3")


def test_what_a_base_image_lacks_and_cannot_be_added_is_named(machine: Machine) -> None:
    python = 'case "$*" in *sys.version_info*) echo 3.12 ;; *) echo sqlite3 ;; esac'
    said = require_base(machine(apt_get="echo E: no network >&2; exit 100", python3=python))
    assert "E: no network" in said
    assert said.endswith("lacks ca-certificates python3-venv, which apt-get cannot install, as it says above")


# Files that say the same


def test_the_pythons_are_those_of_the_base_image() -> None:
    bounds = re.search(r"oldest=3\.(\d+) newest=3\.(\d+)", MAKE_VENV.read_text())
    of_base = re.search(r"oldest=(\d+) newest=(\d+)", REQUIRE_BASE.read_text())
    assert bounds
    assert of_base
    assert bounds.groups() == of_base.groups()


def test_the_locked_uv_is_found_with_its_hashes() -> None:
    (uv,) = REQUIREMENT_OF_UV.findall((PROJECT_ROOT / "requirements-dev.lock").read_text())
    first, *hashes = uv.splitlines()
    assert re.fullmatch(r"uv==[\d.]+ \\", first)
    assert hashes
    assert all(line.strip().startswith("--hash=sha256:") for line in hashes)
    assert os.linesep not in first
