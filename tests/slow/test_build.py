"""The image on bases that people have, and the virtual environment in folders and shells that they have."""

import os
import re
import shutil
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Final
from uuid import uuid4

import docker
import pytest

from scripts.host.docker_engine import LOCAL_BASE_IMAGES, has_image
from seedcore.settings import PROJECT_ROOT
from tests.stack.hostile import NOWHERE
from tests.stack.project import Project

LOG: Final = ".local/log/build.log"
TIMEOUT_S: Final = 600.0
# Of a shell that was set up for other programs than these.
FOREIGN: Final = {
    "PIP_USER": "1",
    "PIP_TARGET": "/nowhere",
    "PIP_REQUIRE_VIRTUALENV": "1",
    "UV_OFFLINE": "1",
    "UV_PYTHON": "3.8",
    "DOCKER_BUILDKIT": "0",
    "BUILDX_BUILDER": "of-somebody-else",
    "BUILDKIT_PROGRESS": "rawjson",
}

MakeBase = Callable[[str], str]


@pytest.fixture
def make_base(engine: docker.DockerClient, tmp_path: Path) -> Iterator[MakeBase]:
    """Makes a base image from the lines that follow `FROM`, which has a Debian image of this machine as `$DEBIAN`."""
    name = f"seedcore-test-base-{uuid4().hex[:8]}:latest"
    debian = next(image for image in (*LOCAL_BASE_IMAGES, "python:3.13-slim-trixie") if has_image(engine, image))

    def make(dockerfile: str) -> str:
        (tmp_path / "base").mkdir()
        (tmp_path / "base/Dockerfile").write_text(f"ARG DEBIAN={debian}\n{dockerfile}\n")
        command = ["docker", "build", "--quiet", "--tag", name, str(tmp_path / "base")]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return name

    yield make
    if has_image(engine, name):
        engine.images.remove(name, force=True)


def log_of(project: Project) -> str:
    return (project.folder / LOG).read_text()


def refused(project: Project, base: str, **environment: str) -> str:
    """What `make up` says on a base image that it cannot build on."""
    done = project.run("make", "up", BASE_IMAGE=base, **environment)
    assert done.returncode != 0
    assert "Traceback" not in done.stdout
    assert f"The whole output is in {LOG}" in done.stdout
    return done.stdout


OTHER_USER = """FROM ${DEBIAN}
RUN apt-get purge --yes --allow-remove-essential ca-certificates python3-venv 'python3.*-venv'
RUN useradd --uid 1000 --create-home someone
ENV HOME=/home/someone PIP_USER=1 PIP_TARGET=/nowhere UV_OFFLINE=1 UV_SYSTEM_PYTHON=1 PYTHONHOME=/nowhere
WORKDIR /home/someone
USER 1000
"""


def new_layer() -> str:
    """What no image of an earlier run has, so that the steps after it are not found done."""
    return f"RUN echo {uuid4().hex} >/tmp/made\n"


@pytest.mark.timeout(TIMEOUT_S)
def test_a_base_with_a_user_and_variables_of_its_own_and_without_what_we_need(
    docker_project: Project, make_base: MakeBase
) -> None:
    """From a shell that has some as well."""
    done = docker_project.run("make", "up", BASE_IMAGE=make_base(f"{OTHER_USER}{new_layer()}"), **FOREIGN)
    assert done.returncode == 0, done.stdout
    assert "adding what the base image lacks: ca-certificates python3-venv" in log_of(docker_project)
    lines = [line for line in done.stdout.splitlines() if " s  " in line]
    assert any("install_packages" in line for line in lines)
    ours = [line for line in done.stdout.splitlines() if not re.match(r" *(Container|Volume|Network) ", line)]
    assert len(ours) < 40, done.stdout
    assert "❌" not in docker_project.make("verify")


@pytest.mark.parametrize(
    ("dockerfile", "said"),
    [
        (
            "FROM ${DEBIAN} AS debian\nRUN apt-get update && apt-get install --yes busybox-static\n"
            "RUN echo 'PRETTY_NAME=\"Alpine Linux v3.22\"' >/os-release\nFROM scratch\n"
            "COPY --from=debian /bin/busybox /bin/sh\nCOPY --from=debian /etc/passwd /etc/group /os-release /etc/",
            "this one is Alpine Linux v3.22",
        ),
        ("FROM ${DEBIAN}\nRUN rm /usr/bin/python3*", "without python3"),
        (
            "FROM ${DEBIAN}\nRUN echo '#!/bin/sh' >/usr/local/bin/python3 && echo 'echo 3.10' >>/usr/local/bin/python3 "
            "&& chmod a+x /usr/local/bin/python3",
            "with Python 3.10",
        ),
        (
            "FROM ${DEBIAN} AS debian\nFROM scratch\nCOPY --from=debian /etc/passwd /etc/group /etc/",
            "no such file or directory",
        ),
    ],
    ids=["another libc", "no Python", "an old Python", "no shell"],
)
def test_a_base_that_cannot_do_says_so(
    docker_project: Project, make_base: MakeBase, dockerfile: str, said: str
) -> None:
    output = refused(docker_project, make_base(dockerfile))
    assert said in output
    assert "set BASE_IMAGE to another image" in output
    assert "EXTRA_CA_CERTS" not in output


def test_a_step_that_fails_shows_its_reason(docker_project: Project, make_base: MakeBase) -> None:
    output = refused(docker_project, make_base("FROM ${DEBIAN}"), APT_PACKAGES="no-such-package")
    assert "E: Unable to locate package no-such-package" in output
    assert "EXTRA_CA_CERTS" not in output
    assert "BASE_IMAGE" not in output


@pytest.mark.timeout(TIMEOUT_S)
def test_no_image_is_made_without_the_engine(docker_project: Project, make_base: MakeBase) -> None:
    knobs = {"COMPOSE_PROFILES": "valkey", "MEMORY_URL": "valkey://valkey", "http_proxy": NOWHERE}
    output = refused(docker_project, make_base(f"FROM ${{DEBIAN}}\n{new_layer()}"), **knobs)
    assert "the base image finds neither valkey-server nor redis-server" in output
    assert f"Unable to connect to {NOWHERE.removeprefix('http://')}" in output


@contextmanager
def package_index() -> Iterator[tuple[str, list[str]]]:
    """A mirror on this machine's 127.0.0.1 that has nothing; its address, and who asked for what."""
    asked: list[str] = []

    class Nothing(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(f"{self.path} {self.headers.get('Authorization')}")
            self.send_error(404)

        do_HEAD = do_GET  # noqa: N815 - http.server's name

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's name
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Nothing) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://me:hunter2@127.0.0.1:{server.server_port}/simple", asked
        finally:
            server.shutdown()
            thread.join()


def test_the_index_of_the_shell_is_that_of_the_build(docker_project: Project, make_base: MakeBase) -> None:
    base = make_base(f"FROM ${{DEBIAN}}\n{new_layer()}")
    with package_index() as (url, asked):
        output = refused(docker_project, base, PIP_INDEX_URL=url)
        assert "hunter2" not in output
    assert any(line.startswith("/simple/uv/ Basic ") for line in asked), asked
    assert "hunter2" not in log_of(docker_project)


@pytest.mark.timeout(TIMEOUT_S)
def test_the_environment_is_made_and_moved(tmp_path: Path) -> None:
    folder = tmp_path / "my checkout"
    for name in ("scripts", "requirements.lock", "requirements-dev.lock"):
        source = PROJECT_ROOT / name
        shutil.copytree(source, folder / name) if source.is_dir() else shutil.copy(source, folder / name)
    command = ["scripts/host/make_venv.sh", "requirements.lock", "requirements-dev.lock"]
    made = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, **FOREIGN, "PYTHONHOME": "/nowhere"},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert made.returncode == 0, made.stdout + made.stderr
    assert " + ray==" in (folder / ".local/log/venv.log").read_text()
    assert " + ray==" not in made.stdout
    moved = folder.rename(tmp_path / "elsewhere")
    again = subprocess.run(command, cwd=moved, capture_output=True, text=True, check=True)
    assert again.stdout == ""
    for program in ("ray", "supervisord", "pip"):
        version = subprocess.run(
            [moved / ".venv/bin" / program, "--version"], capture_output=True, text=True, check=False
        )
        assert version.returncode == 0, version.stderr


def test_doctor_on_what_an_image_is_built_from(docker_project: Project, tmp_path: Path) -> None:
    none = {"SEEDCORE_IMAGE": "seedcore.invalid/none:1"}  # so that there is one to build
    assert docker_project.doctor(**none) == {}
    ((title, said),) = docker_project.doctor(**none, BASE_IMAGE="seedcore.invalid/none:1").items()
    assert title == "base image"
    assert "seedcore.invalid/none:1 (BASE_IMAGE) is not on this machine and cannot be pulled" in said
    assert "install_docker.sh" in said

    with intercepting_proxy(tmp_path) as proxy:
        behind = {"HTTPS_PROXY": proxy, "https_proxy": proxy, "NO_PROXY": "127.0.0.1", "SSL_CERT_FILE": ""}
        ((title, said),) = docker_project.doctor(**none, **behind).items()
    assert title == "package index"
    assert "your network has a certificate authority of its own" in said
    assert "Set EXTRA_CA_CERTS in .env to its PEM file" in said
    gone = {"HTTPS_PROXY": proxy, "https_proxy": proxy, "NO_PROXY": "127.0.0.1"}
    ((title, said),) = docker_project.doctor(**none, **gone).items()
    assert title == "package index"
    assert "it does not have certifi: " in said
    assert "HTTPS_PROXY" in said


@contextmanager
def intercepting_proxy(folder: Path) -> Iterator[str]:
    """A proxy that answers in place of every server, with a certificate that nobody knows; its address."""
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    files = ["-keyout", str(key), "-out", str(certificate)]
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=Company", *files]
    subprocess.run(command, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)

    class Interceptor(BaseHTTPRequestHandler):
        def do_CONNECT(self) -> None:
            self.send_response(200)
            self.end_headers()
            with suppress(ssl.SSLError), context.wrap_socket(self.connection, server_side=True) as connection:
                connection.recv(1)

    with ThreadingHTTPServer(("127.0.0.1", 0), Interceptor) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
