"""Reads the environment once, checks it, and names every knob.

A value comes from the process environment first, then from `.env` in the project folder, then from the default
here. `.env`, `compose.yaml` and the README's table list the same knobs; `tests/unit/test_knobs.py` holds them to it.
"""

from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Final, Self

from pydantic import Field, ValidationError, ValidationInfo, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

PROJECT_ROOT: Final = Path(__file__).resolve().parent.parent

OBSERVABILITY: Final = "observability"  # the profile in compose.yaml
DOCKER_SIZE_UNITS: Final = {"b": 1, "k": 2**10, "m": 2**20, "g": 2**30}
MAX_PORT: Final = 65535
MIN_OBJECT_STORE_BYTES: Final = 75 * 2**20  # ray_constants.OBJECT_STORE_MINIMUM_MEMORY_BYTES; Ray refuses less

Name = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
Port = Annotated[int, Field(ge=1024, le=MAX_PORT)]
DockerSize = Annotated[str, Field(pattern=r"^[1-9][0-9]*[bkmg]$")]


class SettingsError(ValueError):
    """Raised when a knob has a value that is not allowed; the message names the knob, the value and what is."""


class Runtime(StrEnum):
    """Where the stack runs."""

    AUTO = "auto"
    DOCKER = "docker"
    LOCAL = "local"


class AuthMode(StrEnum):
    """Values of `RAY_AUTH_MODE` that Ray knows."""

    TOKEN = "token"  # noqa: S105 - the name of a mode
    DISABLED = "disabled"


class LogFormat(StrEnum):
    """How a log record is written."""

    TEXT = "text"
    JSON = "json"


class LogLevel(StrEnum):
    """Levels of the `logging` module."""

    DEBUG = "DEBUG"
    INFO = "INFO"
    WARNING = "WARNING"
    ERROR = "ERROR"


class Synchronous(StrEnum):
    """SQLite's `PRAGMA synchronous`: NORMAL survives the death of any process, FULL also a power cut of the host."""

    NORMAL = "NORMAL"
    FULL = "FULL"


class Settings(BaseSettings):
    """Every knob, with its default and what it means. A field `ray_namespace` is the variable `RAY_NAMESPACE`."""

    model_config = SettingsConfigDict(env_file=PROJECT_ROOT / ".env", extra="ignore", frozen=True)

    # The stack
    compose_project_name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$", max_length=40)] = Field(
        "seedcore", description="name of the stack; two stacks on one machine need two names and other ports"
    )
    runtime: Runtime = Field(
        Runtime.AUTO, description="where to run: docker, local, or auto (docker if an engine answers)"
    )
    compose_profiles: str = Field(
        "", pattern=r"^[A-Za-z0-9_.,*-]*$", description="Docker only; observability: start Prometheus as well"
    )
    up_deadline_s: float = Field(180, gt=0, le=3600, description="seconds that make up waits for a healthy stack")

    # Ports on 127.0.0.1
    api_port: Port = Field(8000, description="port of the HTTP API")
    dashboard_port: Port = Field(8265, description="port of Ray's dashboard")
    prometheus_port: Port = Field(9090, description="port of Prometheus, if COMPOSE_PROFILES starts it")
    ray_client_port: Port = Field(
        10001, description="port of Ray Client, embedded runtime only; Docker does not publish it"
    )
    ray_agent_port: Port = Field(
        52365, description="port of the head's node agent, embedded runtime only; worker N (from 0) takes this + 1 + N"
    )

    # Ray
    ray_namespace: Name = Field("seedcore-dev", description="the one namespace in which all singleton actors live")
    ray_address: Annotated[str, Field(pattern=r"^(auto|[^\s:/]+:[0-9]{1,5})$")] = Field(
        "127.0.0.1:6379", description="address of the Ray head, HOST:PORT; in containers ray-head:6379"
    )
    ray_auth_mode: AuthMode = Field(AuthMode.TOKEN, description="who may talk to Ray: token, or disabled for everybody")
    ray_auth_token_path: Path = Field(
        Path(".secrets/ray_auth_token"), description="file with Ray's token; in containers /run/secrets/ray_auth_token"
    )
    ray_worker_replicas: int = Field(1, ge=1, le=8, description="number of ray-worker nodes")
    ray_worker_cpus: int = Field(2, ge=1, le=1024, description="CPUs that each ray-worker offers to tasks and actors")
    object_store_bytes: int = Field(
        268435456, ge=MIN_OBJECT_STORE_BYTES, description="bytes of each node's object store; below SHM_SIZE"
    )
    gcs_reconnect_timeout_s: int = Field(
        600, ge=60, le=86400, description="seconds that nodes and drivers wait for a lost head before they give up"
    )

    # Singleton actors
    mw_actor_name: Name = Field("mw", description="name of the MwStore actor")
    miss_tracker_actor_name: Name = Field("miss_tracker", description="name of the MissTracker actor")
    shared_cache_actor_name: Name = Field("shared_cache", description="name of the SharedCache actor")
    state_resource: Name = Field("state", description="custom Ray resource of the nodes that have the state volume")
    auto_create: bool = Field(False, description="1: a look-up creates the singleton that it does not find")
    lookup_retries: int = Field(12, ge=1, le=1000, description="how often a look-up is tried")
    lookup_backoff_s: float = Field(0.5, ge=0, le=60, description="seconds between two tries of a look-up")
    lookup_deadline_s: float = Field(
        30, gt=0, le=3600, description="seconds after which a look-up ends, whatever it waits for"
    )
    bootstrap_deadline_s: float = Field(
        60, gt=0, le=3600, description="seconds in which all singletons must answer a ping"
    )
    call_deadline_s: float = Field(
        60, gt=0, le=3600, description="seconds that a get or set waits for a restarting actor"
    )

    # Working memory
    state_dir: Path = Field(
        Path(".local/state"), description="folder of the SQLite files, in it one for each stack; in containers /state"
    )
    sqlite_synchronous: Synchronous = Field(
        Synchronous.NORMAL, description="NORMAL survives any process's death, FULL also a power cut, at a slower write"
    )
    key_max_length: int = Field(256, ge=1, le=4096, description="characters in an organ id or item id")
    value_max_bytes: int = Field(134217728, ge=1024, le=900_000_000, description="bytes of one encoded value")
    shared_cache_max_items: int = Field(
        100000, ge=1, description="items in the shared cache before the least recently used goes"
    )
    shared_cache_max_bytes: int = Field(536870912, ge=1024, description="bytes of values in the shared cache, likewise")
    miss_tracker_max_items: int = Field(10000, ge=1, description="item ids whose misses are counted at a time")

    # HTTP API
    api_reload: bool = Field(True, description="1: a saved file under seedcore/ restarts the API process")
    api_max_body_bytes: int = Field(10485760, ge=1024, description="bytes of a request body; more is answered with 413")
    api_max_buffered_bytes: int = Field(
        33554432, ge=1024, description="bytes of large request bodies in memory at once; those beyond wait for room"
    )
    api_allowed_hosts: str = Field(
        "localhost,127.0.0.1,seedcore-api",
        min_length=1,
        description="Host headers that the API answers to, comma separated",
    )

    # Logs
    log_level: LogLevel = Field(LogLevel.INFO, description="DEBUG, INFO, WARNING or ERROR")
    log_format: LogFormat = Field(LogFormat.TEXT, description="text, or json for one object a line")

    # Docker
    base_image: Annotated[str, Field(min_length=1)] = Field(
        "python:3.11-slim-bookworm",
        description="image to build on: Debian or Ubuntu with python3 3.11 or newer and venv",
    )
    seedcore_image: Annotated[str, Field(min_length=1)] = Field(
        "seedcore:dev", description="tag of the image that is built"
    )
    extra_ca_certs: str = Field(
        "", description="PEM file of certificate authorities to trust as well; empty: as SSL_CERT_FILE says, if set"
    )
    shm_size: DockerSize = Field("320m", description="shared memory of each Ray container; above OBJECT_STORE_BYTES")
    head_memory: DockerSize = Field("2g", description="memory limit of ray-head")
    worker_memory: DockerSize = Field("4g", description="memory limit of each ray-worker")
    api_memory: DockerSize = Field("2g", description="memory limit of seedcore-api")
    pids_limit: int = Field(4096, ge=256, description="processes and threads in each container")

    @field_validator("ray_auth_token_path", "state_dir")
    @classmethod
    def _from_project_root(cls, path: Path) -> Path:
        if path == Path():
            raise ValueError("must not be empty")
        try:
            return PROJECT_ROOT / path.expanduser()
        except RuntimeError as error:
            raise ValueError(str(error)) from None

    @field_validator("ray_address")
    @classmethod
    def _has_a_port(cls, address: str) -> str:
        if address != "auto" and not 0 < int(address.rpartition(":")[2]) <= MAX_PORT:
            raise ValueError(f"the port must be from 1 to {MAX_PORT}")
        return address

    @field_validator("api_max_buffered_bytes")
    @classmethod
    def _has_room_for_one(cls, buffered: int, info: ValidationInfo) -> int:
        largest = info.data.get("api_max_body_bytes")
        if largest is not None and buffered < largest:
            raise ValueError(f"must be at least API_MAX_BODY_BYTES={largest}, else there is never room for such a body")
        return buffered

    @field_validator("api_allowed_hosts")
    @classmethod
    def _names_a_host(cls, hosts: str) -> str:
        if not hosts.replace(",", "").strip():
            raise ValueError("must name one host or more")
        return hosts

    @field_validator("shm_size")
    @classmethod
    def _holds_object_store(cls, size: str, info: ValidationInfo) -> str:
        store = info.data.get("object_store_bytes")
        if store is not None and docker_size_bytes(size) <= store:
            raise ValueError(f"must be above OBJECT_STORE_BYTES={store}, else Ray moves its object store to disk")
        return size

    @model_validator(mode="after")
    def _actor_names_differ(self) -> Self:
        names = [self.mw_actor_name, self.miss_tracker_actor_name, self.shared_cache_actor_name]
        if len(set(names)) < len(names):
            raise ValueError(
                "MW_ACTOR_NAME, MISS_TRACKER_ACTOR_NAME and SHARED_CACHE_ACTOR_NAME must differ; they are "
                + ", ".join(names)
            )
        return self

    @property
    def has_prometheus(self) -> bool:
        """Whether `COMPOSE_PROFILES` starts Prometheus."""
        return not {"*", OBSERVABILITY}.isdisjoint(self.compose_profiles.split(","))

    @property
    def allowed_hosts(self) -> list[str]:
        """`API_ALLOWED_HOSTS` as a list."""
        return [host.strip() for host in self.api_allowed_hosts.split(",") if host.strip()]


def docker_size_bytes(size: str) -> int:
    """Bytes in a size as Docker writes it, such as `320m`."""
    return int(size[:-1]) * DOCKER_SIZE_UNITS[size[-1]]


@lru_cache(maxsize=1)
def load_settings() -> Settings:
    """The settings of this process, read from the environment at the first call.

    Raises:
        SettingsError: a knob has a value that is not allowed.
    """
    try:
        return Settings()
    except ValidationError as error:
        raise SettingsError(_explain(error)) from None
    except UnicodeDecodeError as error:
        raise SettingsError(
            f"{PROJECT_ROOT / '.env'} is not UTF-8: {error}. `git checkout .env` restores it."
        ) from None


def _explain(error: ValidationError) -> str:
    lines = ["these settings are not allowed; change them in .env or in the environment:"]
    for problem in error.errors():
        if problem["loc"]:
            field = str(problem["loc"][0])
            described = Settings.model_fields[field].description
            lines.append(f"  {field.upper()}={problem['input']!r}: {problem['msg']} ({described})")
        else:
            lines.append(f"  {problem['msg']}")
    return "\n".join(lines)
