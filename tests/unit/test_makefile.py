"""What of a shell reaches the programs that `make` starts, and what of make's own command line."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from seedcore.settings import PROJECT_ROOT
from tests.stack.hostile import HOSTILE

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="there is no make, as in a bare base image")

LOOK = """
look:
	@env --null
"""
OF_INSTALLERS = ("PIP_", "UV_")  # scripts/host/make_venv.sh takes some of them
MAY_PASS = {"LANG", "LC_ALL", "HTTP_PROXY", "http_proxy"}  # they are the user's, and do no harm


def environment(tmp_path: Path, *given: str, **shell: str) -> dict[str, str]:
    (tmp_path / "look.mk").write_text(LOOK)
    done = subprocess.run(
        ["make", "--no-print-directory", "--file=Makefile", f"--file={tmp_path}/look.mk", "look", *given],
        cwd=PROJECT_ROOT,
        env={"PATH": os.environ["PATH"], **shell},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return dict(line.split("=", 1) for line in done.stdout.split("\0") if line)


def test_what_a_shell_has_for_other_programs_reaches_none(tmp_path: Path) -> None:
    found = environment(tmp_path, **HOSTILE)
    reached = {name for name in HOSTILE if name in found and not name.startswith(OF_INSTALLERS)}
    assert reached == MAY_PASS
    assert found["PYTHONUTF8"] == "1"
    assert "RAY_ADDRESS" in found["LEFT_OUT"].split()


@pytest.mark.parametrize("name", ["API_PORT", "RAY_WORKER_REPLICAS", "COMPOSE_PROJECT_NAME", "DOCKER_HOST"])
def test_a_knob_of_a_shell_counts(tmp_path: Path, name: str) -> None:
    assert environment(tmp_path, **{name: "1"})[name] == "1"


@pytest.mark.parametrize("name", ["RAY_ADDRESS", "RAY_NAMESPACE", "COMPOSE_FILE", "API_PORT"])
def test_what_make_is_given_counts(tmp_path: Path, name: str) -> None:
    found = environment(tmp_path, f"{name}=given", **{name: "of the shell"})
    assert (found[name], found["GIVEN"]) == ("given", name)


def test_what_a_shell_has_is_not_given(tmp_path: Path) -> None:
    assert environment(tmp_path, API_PORT="9000", GIVEN="RUNTIME")["GIVEN"] == ""
