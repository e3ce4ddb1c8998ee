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


@pytest.fixture
def own_verb(tmp_path: Path) -> Path:
    shutil.copy(PROJECT_ROOT / "Makefile", tmp_path)
    (tmp_path / ".env").write_text("# knobs\nAPI_PORT=8000\nURL=http://x?a=b\nSECRET='s3cr$et'\nYES=1\n")
    (tmp_path / ".env.local").write_text("URL=http://y?a=b\n")
    (tmp_path / "Makefile.local").write_text(
        "own: ## of my own\n\t@echo $(API_PORT) $(URL) yes=$(YES) $${API_PORT-not for programs}\n"
    )
    return tmp_path


@pytest.mark.parametrize(
    ("given", "shell", "said"),
    [
        ([], {}, "8000 http://y?a=b yes= not for programs"),
        ([], {"API_PORT": "9000"}, "9000 http://y?a=b yes= 9000"),
        (["API_PORT=9001"], {"API_PORT": "9000"}, "9001 http://y?a=b yes= 9001"),
    ],
    ids=["files", "shell", "make"],
)
def test_an_own_verb_knows_the_knobs_in_their_order(
    own_verb: Path, given: list[str], shell: dict[str, str], said: str
) -> None:
    def make(*arguments: str) -> str:
        environment = {"PATH": os.environ["PATH"], **shell}
        return subprocess.run(
            ["make", *arguments], cwd=own_verb, env=environment, capture_output=True, text=True
        ).stdout

    assert make("own", *given) == f"{said}\n"
    assert "make own            of my own" in make()
