"""What a user can get wrong: one clear message each, a non-zero exit code, no traceback."""

import os
import pty
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from tests.stack.project import Project

# Where the docker command looks for its plugins, beside DOCKER_CONFIG.
PLUGIN_FOLDERS = tuple(
    f"{root}/docker/cli-plugins" for root in ("/usr/local/lib", "/usr/local/libexec", "/usr/lib", "/usr/libexec")
)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """One that is not up, and that no test brings up."""
    project = Project(tmp_path_factory.mktemp("local") / "seedcore", "local")
    yield project
    project.remove()


@pytest.fixture(scope="module", params=["docker", "local"])
def any_project(request: pytest.FixtureRequest) -> Project:
    """Likewise, for each runtime."""
    if request.param == "local":
        local: Project = request.getfixturevalue("project")
        return local
    docker_project: Project = request.getfixturevalue("docker_project")
    return docker_project


@pytest.fixture(scope="module")
def docker_project(engine: docker.DockerClient, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    project = Project(tmp_path_factory.mktemp("docker") / "seedcore", "docker")
    yield project
    project.remove()


def refused(project: Project, *words: str, verb: str = "up", **knobs: str) -> str:
    """Run a verb that must fail, with each of the words in its message and no traceback."""
    done = project.run("make", verb, **knobs)
    assert done.returncode != 0, done.stdout
    assert "Traceback" not in done.stdout, done.stdout
    for word in words:
        assert word in done.stdout, done.stdout
    return done.stdout


def test_no_engine(project: Project) -> None:
    refused(project, "Start it (`sudo systemctl", RUNTIME="docker", DOCKER_HOST="unix:///nonexistent/docker.sock")


def test_a_line_that_sets_nothing(project: Project) -> None:
    own = project.folder / ".env.local"
    own.write_text("GREETING=Hello\nMOTO_PORT 3\n")
    refused(project, ".env.local, line 2: 'MOTO_PORT 3' is no NAME=VALUE")
    own.unlink()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can hide the plugins of `docker`")
def test_engine_without_compose(engine: docker.DockerClient, project: Project) -> None:
    hide = (
        "for folder in " + " ".join(PLUGIN_FOLDERS) + '; do [ ! -d "$folder" ] || mount -t tmpfs none "$folder"; done'
    )
    knobs = {"RUNTIME": "docker", "DOCKER_CONFIG": str(project.folder / "no-plugins")}
    done = project.run("unshare", "--mount", "sh", "-ec", f"{hide}; exec make up", **knobs)
    assert done.returncode != 0
    assert "no Compose v2" in done.stdout, done.stdout
    assert "https://docs.docker.com/engine/install/" in done.stdout
    assert "Traceback" not in done.stdout


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a folder that the engine does not see")
def test_an_engine_that_does_not_see_the_folder(docker_project: Project, tmp_path: Path) -> None:
    hidden = f"mount -t tmpfs none {tmp_path}; cp -a {docker_project.folder} {tmp_path}/here"
    done = docker_project.run("unshare", "--mount", "sh", "-ec", f"{hidden}; exec make --directory={tmp_path}/here up")
    assert done.returncode != 0
    assert "the Docker Engine does not see this folder" in done.stdout, done.stdout
    assert "`make up RUNTIME=local` here" in done.stdout
    assert "Traceback" not in done.stdout


def test_a_bad_value_names_knob_value_and_what_is_allowed(project: Project) -> None:
    refused(project, "LOOKUP_RETRIES='many'", "valid integer", "how often a look-up is tried", LOOKUP_RETRIES="many")
    refused(project, "RUNTIME='podman'", "'docker'", "'local'", RUNTIME="podman")


def test_missing_env_file(project: Project) -> None:
    content = (project.folder / ".env").read_text()
    (project.folder / ".env").unlink()
    refused(project, ".env", "git checkout .env")
    (project.folder / ".env").write_text(content)


def test_misspelt_knob(project: Project) -> None:
    env_file = project.folder / ".env"
    content = env_file.read_text()
    env_file.write_text(content.replace("\nAPI_RELOAD=", "\nAPI_RELOED="))
    refused(project, "API_RELOAD is missing in .env: is API_RELOED misspelt?")
    env_file.write_text(content)


def test_misspelt_knob_that_make_is_given(project: Project) -> None:
    done = project.run("make", "up", "API_PRT=9000")
    assert done.returncode != 0
    assert "API_PRT is no knob: is API_PORT meant?" in done.stdout


def test_what_was_remembered_of_the_last_start_is_damaged(project: Project) -> None:
    file = project.folder / f".local/started.{project.name}.json"
    file.parent.mkdir(exist_ok=True)
    for damaged in ('{"runtime": ', '{"runtime": "local", "of_a_newer_version": 1}'):
        file.write_text(damaged)
        refused(project, f"{file.relative_to(project.folder)} is damaged: delete it, then `make up`", verb="ps")
    file.unlink()


def test_empty_token_file(project: Project) -> None:
    token = project.folder / ".secrets/empty"
    token.parent.mkdir(mode=0o700, exist_ok=True)
    token.touch()
    refused(project, "secrets/empty", "empty", RAY_AUTH_TOKEN_PATH=str(token))


def test_token_is_for_nobody_else(project: Project) -> None:
    project.make("token")
    folder = project.folder / ".secrets"
    assert folder.stat().st_mode & 0o777 == 0o700
    assert len((folder / "ray_auth_token").read_text().strip()) == 64


def test_rotate_token_of_a_stack_that_is_down(project: Project) -> None:
    project.make("token")
    old = project.token
    assert "`make up` starts it with the new token" in project.make("rotate-token")
    assert project.token != old
    refused(project, "RAY_AUTH_MODE=disabled", verb="rotate-token", RAY_AUTH_MODE="disabled")


@pytest.mark.parametrize("knob", ["API_PORT", "DASHBOARD_PORT"])
def test_port_taken(any_project: Project, knob: str) -> None:
    with socket.create_server(("127.0.0.1", int(any_project.environment[knob]))):
        refused(any_project, any_project.environment[knob], knob)


def test_two_knobs_with_one_port(any_project: Project) -> None:
    refused(any_project, "must differ", "API_PORT", DASHBOARD_PORT=any_project.environment["API_PORT"])


def test_base_image_not_available(any_project: Project) -> None:
    if any_project.runtime == "local":
        pytest.skip("the embedded runtime has no image")
    refused(any_project, "seedcore.invalid/none:1", "install_docker.sh", BASE_IMAGE="seedcore.invalid/none:1")


@pytest.mark.parametrize("verb", ["verify", "monitor", "restart", "bootstrap", "ps", "shell"])
def test_a_verb_before_up_says_how_to_start(project: Project, verb: str) -> None:
    refused(project, "not up", "make up", verb=verb)


@pytest.mark.parametrize("folder", [".", "/"])
def test_a_backup_is_a_file(project: Project, folder: str) -> None:
    done = project.run("make", "backup", f"FILE={folder}")
    assert done.returncode != 0
    assert f"{folder} is a folder" in done.stdout
    assert "Traceback" not in done.stdout


def test_ctrl_d_is_no(project: Project) -> None:
    terminal, of_the_verb = pty.openpty()
    os.write(terminal, b"\x04")
    asked = subprocess.run(
        ["make", "clean"],
        cwd=project.folder,
        env=project.environment,
        stdin=of_the_verb,
        capture_output=True,
        text=True,
        check=False,
    )
    os.close(terminal)
    os.close(of_the_verb)
    assert (asked.returncode, asked.stderr) == (0, "")
    assert asked.stdout.endswith("nothing was changed\n")


def test_an_argument_that_a_verb_does_not_take_is_refused(project: Project) -> None:
    assert "unknown arguments for verify: --json" in project.run("make", "verify", "ARGS=--json").stdout


def test_a_verb_of_another_name_says_which_stacks_there_are(project: Project) -> None:
    note = project.folder / ".local/started.another.json"
    note.parent.mkdir(exist_ok=True)
    note.write_text('{"runtime": "local"}')
    said = refused(project, "not up", "This folder has started another, too", verb="verify")
    assert "COMPOSE_PROJECT_NAME" in said
    note.unlink()


def test_scale_asks_for_a_number(project: Project) -> None:
    refused(project, "N=3", verb="scale")
