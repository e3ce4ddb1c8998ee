"""docs/start.md, done as it says, in a copy of this checkout with its example."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from seedcore.settings import PROJECT_ROOT
from tests.stack.project import Project

BLOCK = re.compile(r"(?ms)^```(python|sh)\n(.*?)^```$|`(app/[a-z_/]+\.py)`")


def steps(document: str) -> Iterator[tuple[str, str]]:
    """Files to write, each with its content, and commands to run, each with nothing."""
    file = ""
    for kind, content, named in BLOCK.findall(document):
        if named:
            file = named
        elif kind == "python":
            yield file, content
        else:
            yield from ((line, "") for line in content.splitlines())


@pytest.fixture(params=["docker", "local"])
def project(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Project]:
    if request.param == "docker":
        request.getfixturevalue("engine")
    project = Project(tmp_path / "seedcore", request.param, SEEDCORE_IMAGE="seedcore-test-start:dev")
    shutil.copytree(PROJECT_ROOT / "app", project.folder / "app", dirs_exist_ok=True)
    yield project
    project.remove()


@pytest.mark.timeout(900)
def test_each_step_works(project: Project) -> None:
    project.make("up")
    assert "🎭 Visits: ✅ Running" in project.make("monitor")
    said = {}
    for step, content in steps((PROJECT_ROOT / "docs/start.md").read_text()):
        if content:
            (project.folder / step).write_text(content)
            continue
        command = step.replace(":8000/", f":{project.api_port}/")
        done = project.run("bash", "-euo", "pipefail", "-c", command)
        assert done.returncode == 0, f"{command}:\n{done.stdout}"
        said[step] = done.stdout
    assert "🎭 Greeter: ✅ Running" in said["make monitor"]
    assert "Hello, Alan, for the 1. time" in said['make run M=app.jobs.party ARGS="Ada Alan"']
    assert "2 passed" in said["make test ARGS=app"]
    assert project.get("party", "greetings")[0].startswith("Hello, Ada, for the ")
