"""Finds the Docker engine and says what is missing."""

import json
import re
import subprocess
from typing import Any, Final

import docker
from docker.errors import DockerException, ImageNotFound, NotFound

from scripts.host.runtime import StackError

MIN_ENGINE: Final = (25, 0)  # the first whose health checks have a start_interval
MIN_COMPOSE: Final = (2, 24)  # of the same month, January 2024
COMMAND_TIMEOUT_S: Final = 20  # `docker` asks the engine, which may be on another machine
DEFAULT_BASE_IMAGE: Final = "python:3.13-slim-trixie"
# What .ci/install_docker.sh makes, the newest first.
LOCAL_BASE_IMAGES: Final = ("seedcore/python-base:trixie", "seedcore/python-base:bookworm")
INSTALL_HINT: Final = (
    f"Install Docker Engine {MIN_ENGINE[0]} or newer with Compose {'.'.join(map(str, MIN_COMPOSE))} or newer "
    "(https://docs.docker.com/engine/install/)."
)

LOOK_HINT: Final = "`docker context ls` and `docker version` show which engine the command uses."


class NoEngineError(StackError):
    """Raised when no Docker can be used; the message says what is missing."""


def connect_to_engine() -> docker.DockerClient:
    """A client of the engine that the `docker` command uses, after engine and Compose have been found good enough.

    Raises:
        NoEngineError: there is no `docker` command, no engine answers, Compose is missing, or one of both is too old.
    """
    host = _engine_host()
    try:
        client = docker.DockerClient(base_url=host, use_ssh_client=host.startswith("ssh://"))
        client.ping()
    except DockerException as error:
        if "ermission" in str(error):
            raise NoEngineError(
                f"you may not use the Docker engine at {host}: `sudo usermod -aG docker $USER`, then log in again."
            ) from error
        raise NoEngineError(
            f"no Docker engine answers at {host}: {error}. Start it (`sudo systemctl start docker`, or Docker Desktop)."
        ) from error
    _require("Docker Engine", client.version()["Version"], MIN_ENGINE)
    require_compose()
    return client


def _engine_host() -> str:
    # The SDK knows DOCKER_HOST but not the command's contexts, which Docker Desktop and rootless engines use.
    return str(_context()["Endpoints"]["docker"]["Host"])


def name_of_context() -> str:
    """The name of what the `docker` command uses; the builder of its engine has the same."""
    return str(_context()["Name"])


def _context() -> dict[str, Any]:
    contexts: list[dict[str, Any]] = json.loads(_docker("context", "inspect"))
    return contexts[0]


def require_compose() -> str:
    """The version of `docker compose`.

    Raises:
        NoEngineError: it is missing or too old.
    """
    try:
        version = _docker("compose", "version", "--short").strip()
    except NoEngineError as error:
        raise NoEngineError(f"the docker command has no Compose v2 (`docker compose`). {INSTALL_HINT}") from error
    _require("Docker Compose", version, MIN_COMPOSE)
    return version


def _require(what: str, version: str, oldest: tuple[int, int]) -> None:
    numbers = re.match(r"v?(\d+)\.(\d+)", version)
    if not numbers or (int(numbers[1]), int(numbers[2])) < oldest:
        wanted = ".".join(map(str, oldest))
        raise NoEngineError(f"{what} {version} is too old, {wanted} or newer is needed. {INSTALL_HINT}")


def _docker(*arguments: str) -> str:
    try:
        done = subprocess.run(
            ["docker", *arguments], capture_output=True, text=True, check=False, timeout=COMMAND_TIMEOUT_S
        )
    except FileNotFoundError:
        raise NoEngineError(f"there is no `docker` command. {INSTALL_HINT}") from None
    except subprocess.TimeoutExpired:
        command = f"docker {' '.join(arguments)}"
        raise NoEngineError(f"`{command}` did not answer in {COMMAND_TIMEOUT_S} s. {LOOK_HINT}") from None
    if done.returncode:
        raise NoEngineError(f"`docker {' '.join(arguments)}` failed: {done.stderr.strip()}. {LOOK_HINT}")
    return done.stdout


def has_image(client: docker.DockerClient, name: str) -> bool:
    """Whether the engine has an image of this name."""
    try:
        client.images.get(name)
    except (ImageNotFound, NotFound):
        return False
    return True


def base_image_in_place_of(client: docker.DockerClient, wanted: str) -> str | None:
    """The image of this machine to build on where `wanted` cannot be pulled; None if there is none."""
    if wanted != DEFAULT_BASE_IMAGE:
        return None
    return next((name for name in LOCAL_BASE_IMAGES if has_image(client, name)), None)


def no_base_image(wanted: str, reason: str) -> StackError:
    """What is to be said where there is nothing to build on."""
    return StackError(
        f"the base image {wanted} (BASE_IMAGE) is not on this machine and cannot be pulled: {reason}. "
        "Set BASE_IMAGE to any Debian or Ubuntu image with Python 3.11 to 3.14 that you have. Without a registry, "
        f".ci/install_docker.sh shows how to make {LOCAL_BASE_IMAGES[0]} from Debian packages."
    )
