"""Reads the environment once, and names every knob that a process of the stack reads.

A value comes from the process environment first, then from `.env.local` and `.env` in the project folder, then from the
default here. The knobs of the host are in `scripts/host/settings.py`. `.env` has what a person changes; what is marked
as `SPECIALIST` may be added to it. `tests/unit/test_knobs.py` holds compose.yaml to it, `tests/template` the documents.
"""

import re
from collections.abc import Mapping
from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Final, Self, TypeVar

from pydantic import AfterValidator, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from seedcore.code_version import PROJECT_ROOT as PROJECT_ROOT
from seedcore.memory_url import parse_address

# The later one wins. Git ignores the local one: it is for secrets, and for what is of one machine.
ENV_FILES: Final = (PROJECT_ROOT / ".env", PROJECT_ROOT / ".env.local")
SPECIALIST: Final = "specialist"  # marks a knob that few ever turn: it is not in .env, but may be added there
MAX_PORT: Final = 65535
HOST: Final = re.compile(r"(\[(?P<ipv6>[0-9A-Fa-f:.]+)\]|(?P<name>[\w.-]*[\w-])\.?)(:[0-9]*)?", re.ASCII)
NODE_PORTS: Final = 100  # of each node, if others can join; images/entrypoint.sh says what it does with them
MIN_OBJECT_STORE_BYTES: Final = 75 * 2**20  # ray_constants.OBJECT_STORE_MINIMUM_MEMORY_BYTES; Ray refuses less


def matching(pattern: str, otherwise: str) -> AfterValidator:
    """That a whole text matches; pydantic's own message would show the pattern.

    Args:
        pattern: what it must match.
        otherwise: what is said if it does not.
    """

    def validated(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise ValueError(otherwise)
        return text

    return AfterValidator(validated)


Name = Annotated[
    str,
    Field(min_length=1, max_length=100),
    matching(r"[A-Za-z0-9][A-Za-z0-9._-]*", "must have letters, digits, ., - and _, and begin with a letter or digit"),
]
Port = Annotated[int, Field(ge=1024, le=MAX_PORT)]


class SettingsError(ValueError):
    """Raised when a knob has a value that is not allowed; the message names the knob, the value and what is."""


class AuthMode(StrEnum):
    """Values of `RAY_AUTH_MODE` that Ray knows."""

    TOKEN = "token"  # noqa: S105 - the name of a mode
    DISABLED = "disabled"


class LogFormat(StrEnum):
    """How a log record is written."""

    TEXT = "text"
    JSON = "json"


class LogLevel(StrEnum):
    """Levels of the `logging` module, in upper or lower case."""

    DEBUG = "DEBUG"
    INFO = "INFO"
    WARNING = "WARNING"
    ERROR = "ERROR"

    @classmethod
    def _missing_(cls, value: object) -> Self | None:
        name = str(value).upper()
        return cls.__members__.get("WARNING" if name == "WARN" else name)


class Synchronous(StrEnum):
    """SQLite's `PRAGMA synchronous`: NORMAL survives the death of any process, FULL also a power cut of the host."""

    NORMAL = "NORMAL"
    FULL = "FULL"


class Settings(BaseSettings):
    """What processes of the stack read. A field `ray_namespace` is the variable `RAY_NAMESPACE`."""

    model_config = SettingsConfigDict(env_file=ENV_FILES, extra="ignore", frozen=True)

    # Ports on 127.0.0.1
    api_port: Port = Field(8000, description="port of the HTTP API")
    dashboard_port: Port = Field(8265, description="port of Ray's dashboard")
    ray_client_port: Annotated[Port, SPECIALIST] = Field(
        10001, description="port of Ray Client, embedded runtime only; Docker does not publish it"
    )
    ray_agent_port: Annotated[Port, SPECIALIST] = Field(
        52365, description="port of the head's node agent, embedded runtime only; worker N (from 0) takes this + 1 + N"
    )

    # Ray
    ray_namespace: Name = Field("seedcore-dev", description="the one namespace in which all singleton actors live")
    ray_address: Annotated[str, matching(r"auto|[^\s:/]+:[0-9]{1,5}", "must be HOST:PORT")] = Field(
        "127.0.0.1:6379", description="address of the Ray head, HOST:PORT; in containers ray-head:6379"
    )
    ray_auth_mode: AuthMode = Field(AuthMode.TOKEN, description="who may talk to Ray: token, or disabled for everybody")
    ray_auth_token_path: Annotated[Path, SPECIALIST] = Field(
        Path(".secrets/ray_auth_token"), description="file with Ray's token; in containers /run/secrets/ray_auth_token"
    )
    ray_worker_cpus: int = Field(2, ge=1, le=1024, description="CPUs that each ray-worker offers to tasks and actors")
    object_store_bytes: int = Field(
        1073741824,
        ge=MIN_OBJECT_STORE_BYTES,
        description="bytes of each node's object store, below SHM_SIZE; what does not fit goes to RAY_TEMP_DIR",
    )
    gcs_reconnect_timeout_s: Annotated[int, SPECIALIST] = Field(
        600, ge=60, le=86400, description="seconds that nodes and drivers wait for a lost head before they give up"
    )

    # Several machines
    cluster_address: Annotated[str, matching(r"[^\s:/]*", "must be an IPv4 address or a host name, or empty")] = Field(
        "", description="address of this machine at which others can join the stack; empty: this machine only"
    )
    cluster_ports: int = Field(
        21000,
        ge=1024,
        le=64000,
        description="first port of the nodes, if others can join: each node of a machine has a hundred",
    )

    # Singleton actors
    mw_actor_name: Annotated[Name, SPECIALIST] = Field("mw", description="name of the MwStore actor")
    miss_tracker_actor_name: Annotated[Name, SPECIALIST] = Field(
        "miss_tracker", description="name of the MissTracker actor"
    )
    shared_cache_actor_name: Annotated[Name, SPECIALIST] = Field(
        "shared_cache", description="name of the SharedCache actor"
    )
    state_resource: Annotated[Name, SPECIALIST] = Field(
        "state", description="custom Ray resource of the nodes that have the state volume"
    )
    auto_create: bool = Field(False, description="1: a look-up creates the singleton that it does not find")
    lookup_retries: Annotated[int, SPECIALIST] = Field(12, ge=1, le=1000, description="how often a look-up is tried")
    lookup_backoff_s: Annotated[float, SPECIALIST] = Field(
        0.5, ge=0, le=60, description="seconds between two tries of a look-up"
    )
    lookup_deadline_s: Annotated[float, SPECIALIST] = Field(
        30, gt=0, le=3600, description="seconds after which a look-up ends, whatever it waits for"
    )
    bootstrap_deadline_s: Annotated[float, SPECIALIST] = Field(
        60, gt=0, le=3600, description="seconds in which all singletons must answer a ping, or be there and busy"
    )
    call_deadline_s: Annotated[float, SPECIALIST] = Field(
        60, gt=0, le=3600, description="seconds that a get or set waits for a restarting actor"
    )

    # Working memory
    memory_url: str = Field(
        "", description="where the memory is: empty for SQLite files, or valkey://HOST:PORT/N; docs/valkey.md has more"
    )
    memory_password: Annotated[SecretStr, SPECIALIST] = Field(
        SecretStr(""), description="password of the engine at MEMORY_URL; belongs into .env.local"
    )
    memory_password_file: Annotated[str, SPECIALIST] = Field(
        "", description="file with that password, in its place; as the processes of the stack see it"
    )
    memory_tls_ca_file: Annotated[str, SPECIALIST] = Field(
        "", description="file with the certificate of the authority of the engine at MEMORY_URL; empty for the system's"
    )
    memory_tls_cert_file: Annotated[str, SPECIALIST] = Field(
        "", description="file with the certificate that the engine at MEMORY_URL asks of its clients"
    )
    memory_tls_key_file: Annotated[str, SPECIALIST] = Field("", description="file with the key of that certificate")
    state_dir: Path = Field(
        Path(".local/state"), description="folder of the SQLite files, in it one for each stack; in containers /state"
    )
    sqlite_synchronous: Synchronous = Field(
        Synchronous.NORMAL, description="NORMAL survives any process's death, FULL also a power cut, at a slower write"
    )
    key_max_length: Annotated[int, SPECIALIST] = Field(
        256, ge=1, le=4096, description="characters in an organ id or item id"
    )
    value_max_bytes: Annotated[int, SPECIALIST] = Field(
        134217728, ge=1024, le=900_000_000, description="bytes of one encoded value"
    )
    shared_cache_max_items: int = Field(
        100000, ge=1, description="items in the shared cache before the least recently used goes"
    )
    shared_cache_max_bytes: int = Field(536870912, ge=1024, description="bytes of values in the shared cache, likewise")
    miss_tracker_max_items: Annotated[int, SPECIALIST] = Field(
        10000, ge=1, description="item ids whose misses are counted at a time"
    )

    # HTTP API
    api_reload: bool = Field(True, description="1: a saved file of the code restarts the API process")
    api_max_body_bytes: int = Field(10485760, ge=1024, description="bytes of a request body; more is answered with 413")
    api_allowed_hosts: str = Field(
        "localhost,127.0.0.1,seedcore-api",
        min_length=1,
        description="Host headers that the API answers to, comma separated",
    )

    debug_port: Annotated[Port, SPECIALIST] = Field(5678, description="port of the debugger that make debug starts")

    profiling: Annotated[bool, SPECIALIST] = Field(
        False, description="1: py-spy and memray may look into Python processes, from Ray's dashboard as well"
    )

    # Logs
    log_level: LogLevel = Field(LogLevel.INFO, description="DEBUG, INFO, WARNING or ERROR")
    log_format: LogFormat = Field(LogFormat.TEXT, description="text, or json for one object a line")

    @field_validator("ray_auth_token_path", "state_dir")
    @classmethod
    def _from_project_root(cls, path: Path) -> Path:
        if path == Path():
            raise ValueError("must not be empty")
        try:
            return PROJECT_ROOT / path.expanduser()
        except RuntimeError as error:
            raise ValueError(str(error)) from None

    @field_validator("memory_url")
    @classmethod
    def _is_an_address(cls, url: str) -> str:
        if url:
            parse_address(url)
        return url

    @property
    def memory_login_password(self) -> str | None:
        """What `MEMORY_PASSWORD` or `MEMORY_PASSWORD_FILE` says.

        Raises:
            SettingsError: the file cannot be read.
        """
        if not self.memory_password_file:
            return self.memory_password.get_secret_value() or None
        try:
            return Path(self.memory_password_file).read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(f"MEMORY_PASSWORD_FILE={self.memory_password_file} cannot be read: {error}") from error

    @field_validator("ray_address")
    @classmethod
    def _has_a_port(cls, address: str) -> str:
        if address != "auto" and not 0 < int(address.rpartition(":")[2]) <= MAX_PORT:
            raise ValueError(f"the port must be from 1 to {MAX_PORT}")
        return address

    @field_validator("api_allowed_hosts")
    @classmethod
    def _names_a_host(cls, hosts: str) -> str:
        named = [host.strip() for host in hosts.split(",") if host.strip()]
        if not named:
            raise ValueError("must name one host or more")
        for host in named:
            if host_name(host) is None:
                raise ValueError(f"{host!r} is no host; name each one by itself, such as dev.local or [::1]")
        return hosts

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
    def allowed_hosts(self) -> list[str]:
        """`API_ALLOWED_HOSTS` as `host_name` has each of them."""
        return [name for host in self.api_allowed_hosts.split(",") if (name := host_name(host.strip()))]


@lru_cache(maxsize=64)  # a client sends the same one with each request
def host_name(host: str) -> str | None:
    """The host that a Host header names, without its port, in the one spelling in which names are compared.

    None if it names none. A name may end with a dot, and an IPv6 address stands in brackets.
    """
    parts = HOST.fullmatch(host)
    return (parts["ipv6"] or parts["name"]).lower() if parts else None


S = TypeVar("S", bound=Settings)


@lru_cache(maxsize=1)
def load_settings() -> Settings:
    """The settings of this process, read from the environment at the first call.

    Raises:
        SettingsError: a knob has a value that is not allowed.
    """
    return read_settings(Settings)


def read_settings(kind: type[S], given: Mapping[str, str] = MappingProxyType({})) -> S:
    """The settings as the environment has them now.

    Args:
        kind: which knobs.
        given: knobs that count whatever the environment has.

    Raises:
        SettingsError: a knob has a value that is not allowed.
    """
    try:
        values: dict[str, Any] = {name.lower(): value for name, value in given.items()}
        return kind(**values)
    except ValidationError as error:
        raise SettingsError(_explain(kind, error)) from None
    except UnicodeDecodeError as error:
        raise SettingsError(
            f"{' or '.join(map(str, ENV_FILES))} is not UTF-8: {error}. Save it as UTF-8 in your editor."
        ) from None


def _explain(kind: type[Settings], error: ValidationError) -> str:
    lines = [
        "these settings are not allowed; correct them where you set them (make's command line, .env.local, .env, your "
        "shell):"
    ]
    for problem in error.errors():
        if problem["loc"]:
            field = str(problem["loc"][0])
            described = kind.model_fields[field].description
            # There may be a password in it, or behind the question mark of a URL.
            given = "***" if re.search(r"@|://.*\?", str(problem["input"])) else problem["input"]
            lines.append(f"  {field.upper()}={given!r}: {_in_words(problem['msg'])} ({described})")
        else:
            lines.append(f"  {_in_words(problem['msg'])}")
    return "\n".join(lines)


def _in_words(message: str) -> str:
    return re.sub(r"^(Input|String) should", "must", message.removeprefix("Value error, "))
