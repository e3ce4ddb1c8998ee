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


@pytest.mark.parametrize("project", ["docker"], indirect=True)  # the other runtime has the same environment
def test_a_dependency_of_the_application(project: Project) -> None:
    (project.folder / ".venv").unlink()  # the tests' own, which must not get it
    (project.folder / "app/requirements.txt").write_text("numpy<2\n")
    refused = project.run("make", "lock")
    assert refused.returncode != 0
    assert "app/requirements.txt cannot be joined to what SeedCore needs" in refused.stdout
    (project.folder / "app/requirements.txt").write_text("humanize\n")
    project.make("lock")
    (project.folder / "app/jobs/size.py").write_text("import humanize\n\nprint(humanize.naturalsize(10**6))\n")
    project.make("up")
    assert "1.0 MB" in project.make("run", "M=app.jobs.size")
    assert "❌" not in project.make("doctor")
