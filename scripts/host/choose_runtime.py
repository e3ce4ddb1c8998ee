"""Decides where the stack runs: on Docker or as local processes."""

from dataclasses import dataclass
from pathlib import Path

from scripts.host.docker_engine import connect_to_engine
from scripts.host.docker_runtime import DockerRuntime
from scripts.host.local_runtime import LocalRuntime
from scripts.host.runtime import LOCAL_DIR, StackError, StackRuntime
from scripts.host.settings import HostSettings, Runtime


@dataclass(frozen=True)
class Choice:
    """A runtime, and why it is this one."""

    runtime: StackRuntime
    reason: str


def runtime_to_start(settings: HostSettings) -> Choice:
    """The runtime for `up`, which is remembered for the other verbs.

    Raises:
        StackError: `RUNTIME=docker` without a usable Docker, or this stack is up in the other runtime.
    """
    other = _remembered(settings)
    choice = _choose(settings, other)
    if other and other.name != choice.runtime.name and other.is_up():
        raise StackError(
            f"this stack is already up in the {other.name} runtime: `make down RUNTIME={other.name}` first, "
            "or set another COMPOSE_PROJECT_NAME and other ports for a second one."
        )
    note = _note(settings)
    note.parent.mkdir(parents=True, exist_ok=True)
    note.write_text(choice.runtime.name)
    return choice


def runtime_in_use(settings: HostSettings) -> StackRuntime:
    """The runtime for all other verbs: the one that `RUNTIME` forces, or that the last `up` took.

    Raises:
        StackError: it is Docker, and no usable Docker is there; or the stack is up in the other runtime.
    """
    if settings.runtime is Runtime.AUTO:
        remembered = _remembered(settings, required=True)
        if remembered:
            return remembered
    runtime = _choose(settings, None).runtime
    other = _remembered(settings)
    if other and other.name != runtime.name and other.is_up() and not runtime.is_up():
        raise StackError(f"this stack is up in the {other.name} runtime: say RUNTIME={other.name}.")
    return runtime


def running(settings: HostSettings) -> StackRuntime:
    """`runtime_in_use`, if the stack is up in it.

    Raises:
        StackError: it is not; or as `runtime_in_use`.
    """
    runtime = runtime_in_use(settings)
    if not runtime.is_up():
        raise StackError(
            f"the stack '{settings.compose_project_name}' is not up in the {runtime.name} runtime. `make up` starts it."
        )
    return runtime


def _choose(settings: HostSettings, remembered: StackRuntime | None) -> Choice:
    if settings.runtime is Runtime.LOCAL:
        return Choice(LocalRuntime(settings), "RUNTIME=local")
    if settings.runtime is Runtime.DOCKER:
        return Choice(DockerRuntime(settings, connect_to_engine()), "RUNTIME=docker")
    if remembered and remembered.is_up():
        return Choice(remembered, "the stack is already up there")
    try:
        return Choice(DockerRuntime(settings, connect_to_engine()), "a Docker engine answers")
    except StackError as error:
        return Choice(LocalRuntime(settings), str(error).split(". ")[0])


def _remembered(settings: HostSettings, *, required: bool = False) -> StackRuntime | None:
    try:
        name = _note(settings).read_text().strip()
    except FileNotFoundError:
        return None
    if name == Runtime.LOCAL.value:
        return LocalRuntime(settings)
    try:
        return DockerRuntime(settings, connect_to_engine())
    except StackError:
        if required:
            raise
        return None


def _note(settings: HostSettings) -> Path:
    return LOCAL_DIR / f"runtime.{settings.compose_project_name}"
