"""The knobs of the host: what `make`, Compose and the image build read, beside those that its processes read."""

import difflib
import os
import re
from collections.abc import Mapping
from enum import Enum, StrEnum
from typing import Annotated, Final

from dotenv import dotenv_values
from dotenv.parser import parse_stream
from pydantic import Field, SecretStr, ValidationInfo, field_validator

from seedcore.memory_url import DEFAULT_PORT, parse_address
from seedcore.settings import ENV_FILES, SPECIALIST, Port, Settings, SettingsError, matching, read_settings

OBSERVABILITY: Final = "observability"  # the profiles in compose.yaml
VALKEY: Final = "valkey"
MISSPELT: Final = 0.85  # from there on alike (difflib)
COMPOSE_FILE: Final = "COMPOSE_FILE"  # Compose's own, which docs/ray.md tells people to set
MAX_WORKERS: Final = 8  # numprocs in supervisord.conf
# A line of an env file; `${NAME}` is meant for a variable, and is one without Docker as well.
BARE_DOLLAR: Final = re.compile(
    r"\s*(?:export\s+)?(?P<name>\w+)\s*=\s*(?!\s*')(?:[^$\\#]|\\.|\$(?![A-Za-z_]))*\$[A-Za-z_]"
)
DOCKER_SIZE_UNITS: Final = {"b": 1, "k": 2**10, "m": 2**20, "g": 2**30}

DockerSize = Annotated[str, matching(r"[1-9][0-9]*[bkmg]", "must be a number above 0 and b, k, m or g, such as 1100m")]


class Runtime(StrEnum):
    """Where the stack runs."""

    AUTO = "auto"
    DOCKER = "docker"
    LOCAL = "local"


class HostSettings(Settings):
    """Every knob: those of the processes, and here those that no process of the stack reads."""

    # The stack
    compose_project_name: Annotated[
        str,
        Field(max_length=40),
        matching(r"[a-z0-9][a-z0-9_-]*", "must have small letters, digits, - and _, and begin with a letter or digit"),
    ] = Field("seedcore", description="name of the stack; two stacks on one machine need two names and other ports")
    runtime: Runtime = Field(
        Runtime.AUTO, description="where to run: docker, local, or auto (docker if a Docker Engine answers)"
    )
    compose_profiles: Annotated[
        str, matching(r"[A-Za-z0-9_.,*-]*", "must be names with a comma between two, or empty")
    ] = Field("", description="observability: start Prometheus as well, on Docker; valkey: a server for MEMORY_URL")
    up_deadline_s: Annotated[float, SPECIALIST] = Field(
        180, gt=0, le=3600, description="seconds that make up waits for a healthy stack"
    )
    prometheus_port: Port = Field(9090, description="port of Prometheus, if COMPOSE_PROFILES starts it")
    ray_temp_dir: Annotated[str, SPECIALIST, matching(r"([/~].*)?", "must begin with / or ~, or be empty")] = Field(
        "",
        description="folder on disk for what Ray writes: logs, packages of runtime_env, spilled objects; "
        "empty: a volume, embedded /tmp",
    )
    ray_worker_replicas: int = Field(1, ge=1, le=MAX_WORKERS, description="number of ray-worker nodes")

    cluster_head: Annotated[str, SPECIALIST, matching(r"[^\s:/]*", "must be an IPv4 address or a host name")] = Field(
        "", description="address of the head's machine, on one that has joined it; `make join` sets it"
    )

    # Docker
    base_image: Annotated[str, Field(min_length=1)] = Field(
        "python:3.13-slim-trixie",
        description="image to build on: Debian or Ubuntu with python3, 3.11 to 3.14",
    )
    apt_packages: Annotated[
        str,
        SPECIALIST,
        matching(r"([a-z0-9][a-z0-9.+:=~-]*( |$))*", "must be names of packages with a space between two, or empty"),
    ] = Field("", description="Debian packages that the image has as well, with a space between two")
    seedcore_image: Annotated[str, SPECIALIST] = Field(
        "", description="tag of the image that is built; empty: COMPOSE_PROJECT_NAME:dev"
    )
    extra_ca_certs: str = Field(
        "", description="PEM file of certificate authorities to trust as well; empty: as SSL_CERT_FILE says, if set"
    )
    shm_size: DockerSize = Field("1100m", description="shared memory of each Ray container; above OBJECT_STORE_BYTES")
    head_memory: DockerSize = Field("3g", description="memory limit of ray-head")
    worker_memory: DockerSize = Field("4g", description="memory limit of each ray-worker")
    valkey_memory: Annotated[DockerSize, SPECIALIST] = Field(
        "2g", description="memory limit of valkey, if COMPOSE_PROFILES starts it"
    )
    valkey_port: Annotated[Port, SPECIALIST] = Field(
        6380, description="port of valkey on 127.0.0.1, embedded runtime only; Docker does not publish it"
    )
    api_memory: DockerSize = Field("3g", description="memory limit of seedcore-api")
    pids_limit: Annotated[int, SPECIALIST] = Field(4096, ge=256, description="processes and threads in each container")

    @field_validator("shm_size")
    @classmethod
    def _holds_object_store(cls, size: str, info: ValidationInfo) -> str:
        store = info.data.get("object_store_bytes")
        if store is not None and docker_size_bytes(size) <= store:
            raise ValueError(f"must be above OBJECT_STORE_BYTES={store}, else Ray moves its object store to disk")
        return size

    @field_validator("ray_address", mode="before")
    @classmethod
    def _own_head(cls, address: object) -> object:
        return cls.model_fields["ray_address"].default if address == "auto" else address

    @property
    def head_address(self) -> str:
        """HOST:PORT of the head for the processes of this machine, embedded or in a cluster of several."""
        host, _, port = self.ray_address.rpartition(":")
        return f"{self.cluster_head or self.cluster_address or host}:{port}"

    @property
    def image(self) -> str:
        """`SEEDCORE_IMAGE`, or what it is by default: each stack has its own, with the packages of its lock file."""
        return self.seedcore_image or f"{self.compose_project_name}:dev"

    @property
    def has_prometheus(self) -> bool:
        """Whether `COMPOSE_PROFILES` starts Prometheus."""
        return self._has(OBSERVABILITY)

    @property
    def has_valkey(self) -> bool:
        """Whether `COMPOSE_PROFILES` starts a server for the memory."""
        return self._has(VALKEY)

    @property
    def uses_own_valkey(self) -> bool:
        """Whether `MEMORY_URL` is the server that the profile of that name starts."""
        return bool(self.memory_url) and parse_address(self.memory_url).hosts == ((VALKEY, DEFAULT_PORT),)

    def _has(self, profile: str) -> bool:
        return not {"*", profile}.isdisjoint(self.compose_profiles.split(","))


def load_host_settings(given: Mapping[str, str] | None = None) -> HostSettings:
    """Every knob, as the environment has it now.

    Args:
        given: knobs that count whatever the environment has.

    Raises:
        SettingsError: a knob has a value that is not allowed.
    """
    return read_settings(HostSettings, given or {})


def docker_size_bytes(size: str) -> int:
    """Bytes in a size as Docker writes it, such as `320m`."""
    return int(size[:-1]) * DOCKER_SIZE_UNITS[size[-1]]


def knobs() -> frozenset[str]:
    """The name of every knob."""
    return frozenset(name.upper() for name in HostSettings.model_fields)


def knobs_in_env_file() -> frozenset[str]:
    """Those that a person changes, so that they stand in `.env`."""
    fields = HostSettings.model_fields.items()
    return frozenset(name.upper() for name, field in fields if SPECIALIST not in field.metadata)


def why_missing(name: str) -> str:
    """What to do about a knob that a person changes, and that no file sets."""
    alike = difflib.get_close_matches(name, own_variables(), 1, MISSPELT)
    if alike:
        return f"{name} is missing in .env: is {alike[0]} misspelt?"
    default = as_text(HostSettings.model_fields[name.lower()].default)
    return f"{name} is missing in .env. Add the line `{name}={default}` (its default)."


def meant_knob(name: str) -> str | None:
    """The knob that a variable of another name may be meant for."""
    if name in knobs() or name == COMPOSE_FILE:
        return None
    return next(iter(difflib.get_close_matches(name, knobs(), 1, MISSPELT)), None)


def env_files() -> dict[str, str]:
    """What `.env` and `.env.local` set, the knobs and the user's own variables."""
    found: dict[str, str] = {}
    for path in ENV_FILES:
        found |= {name: value or "" for name, value in dotenv_values(path).items()}
    return found


def no_assignments() -> list[str]:
    """What to do about each line of the two files that sets nothing."""
    problems = []
    for path in ENV_FILES:
        if path.exists():
            with path.open(errors="replace") as file:
                problems += [
                    f"{path.name}, line {line.original.line}: {line.original.string.strip()!r} is no NAME=VALUE. "
                    "Correct it, or take it out."
                    for line in parse_stream(file)
                    if line.error
                ]
    return problems


def changed_by_docker() -> list[str]:
    """What to do about each value of the two files in which Compose takes a part for the name of a variable."""
    return [
        f"{found['name']} in {path.name} has a $ that Docker takes for the beginning of a variable's name: put the "
        f"value in single quotes, {found['name']}='...'."
        for path in ENV_FILES
        if path.exists()
        for found in map(BARE_DOLLAR.match, path.read_text(errors="replace").splitlines())
        if found
    ]


def left_out_knobs() -> frozenset[str]:
    """Those that the shell sets for Ray programs, and that the Makefile therefore left out."""
    return knobs() & frozenset(os.environ.get("LEFT_OUT", "").split())


def given_variables() -> frozenset[str]:
    """Those that make was given on its command line."""
    return frozenset(os.environ.get("GIVEN", "").split())


def require_no_misspelt_knob() -> None:
    """Refuse what make was given for a knob, and is none.

    Raises:
        SettingsError: names it.
    """
    for name in sorted(given_variables() - set(own_variables())):
        if meant := meant_knob(name):
            raise SettingsError(f"{name} is no knob: is {meant} meant?")


def own_variables() -> dict[str, str]:
    """Those that are no knobs; every process of the stack gets them."""
    return {name: value for name, value in env_files().items() if name not in knobs()}


def set_knobs(settings: HostSettings, *, with_secrets: bool = False) -> dict[str, str]:
    """The knobs that are set somewhere, as text."""
    found = {name: getattr(settings, name) for name in sorted(settings.model_fields_set)}
    return {
        name.upper(): as_text(value)
        for name, value in found.items()
        if with_secrets or not isinstance(value, SecretStr)
    }


def process_environment(settings: Settings) -> dict[str, str]:
    """The variables of all knobs that processes read, as images/entrypoint.sh takes them."""
    return {name.upper(): as_text(getattr(settings, name)) for name in Settings.model_fields}


def as_text(value: object) -> str:
    """The value of a knob as it stands in the environment."""
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    return str(value.value if isinstance(value, Enum) else value)
