"""Decides where the stack runs: on Docker or as local processes."""

import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Final

from scripts.host.docker_engine import NoEngineError, connect_to_engine
from scripts.host.docker_runtime import DockerRuntime
from scripts.host.local_runtime import LocalRuntime
from scripts.host.runtime import PLACES, StackError, StackRuntime
from scripts.host.settings import (
    HostSettings,
    Runtime,
    as_text,
    given_variables,
    knobs,
    load_host_settings,
    set_knobs,
)
from scripts.host.started import Started, last_start, other_stacks, stack_name
from seedcore.settings import SettingsError

_engine: Final = cache(connect_to_engine)
# What a verb can be given while the stack runs: where to look for it, and how long the verb itself waits.
OF_VERBS: Final = ("RUNTIME", "UP_DEADLINE_S")


@dataclass(frozen=True)
class Choice:
    """A runtime, and why it is this one."""

    runtime: StackRuntime
    reason: str


def settings_in_use() -> HostSettings:
    """The knobs that a running stack was started with, else those of now. Says which of those that make was given do
    not count therefore.
    """
    started = last_start(stack_name())
    if started is not None:
        try:
            given = {name: os.environ[name] for name in given_variables() & knobs() & set(os.environ)}
            settings = started.settings({name: value for name, value in given.items() if name in OF_VERBS})
            if make_runtime(started.runtime, settings).is_up():
                _say_what_does_not_count(given, started.settings(given), settings)
                return settings
        except (SettingsError, StackError):  # of another version, or no engine answers: whoever needs it says so
            pass
    return load_host_settings()


def works_for_another(head: str) -> StackError:
    """For a verb that is of no use on a machine that has joined the stack of another one."""
    return StackError(
        f"this machine works for the stack of {head}: do this there, or `make leave` first. `make join HEAD={head}` "
        "looks at everything anew, and starts what does not run."
    )


def _say_what_does_not_count(given: Iterable[str], asked: HostSettings, settings: HostSettings) -> None:
    verb = f"make join HEAD={settings.cluster_head}" if settings.cluster_head else "make up"
    for name in sorted(given):
        wanted, found = (as_text(getattr(of, name.lower())) for of in (asked, settings))
        if wanted != found:
            print(
                f"{name}={wanted} is not what the stack was started with ({found}): `{verb} {name}={wanted}` applies "
                "it.",
                file=sys.stderr,
            )


def runtime_to_start(settings: HostSettings) -> Choice:
    """The runtime for `up`, which is remembered for the other verbs.

    Raises:
        StackError: `RUNTIME=docker` without a usable Docker; this stack is up elsewhere, or its items are.
    """
    started = last_start(settings.compose_project_name)
    choice = _choose(settings, started)
    if started is not None:
        _require_same_place(settings, started, choice.runtime)
    knobs = started.knobs if started is not None else {}  # what runs until this start is done
    Started(choice.runtime.name, *choice.runtime.engine(), knobs).write(settings.compose_project_name)
    return choice


def remember_start(settings: HostSettings, runtime: StackRuntime) -> None:
    """Have the other verbs go by these knobs, now that it runs with them."""
    Started(runtime.name, *runtime.engine(), set_knobs(settings)).write(settings.compose_project_name)


def runtime_in_use(settings: HostSettings) -> StackRuntime:
    """The runtime for all other verbs: the one that `RUNTIME` forces, or that the last `up` took.

    Raises:
        StackError: it is Docker, and no usable Docker is there; or the stack is up in the other runtime.
    """
    started = last_start(settings.compose_project_name)
    if settings.runtime is Runtime.AUTO and started is not None:
        return make_runtime(started.runtime, settings)
    runtime = _choose(settings, None).runtime
    other = started is not None and started.runtime != runtime.name and not runtime.is_up()
    if started is not None and other and _is_up(started.runtime, settings):
        raise StackError(
            f"this stack is up {PLACES[started.runtime]}: add RUNTIME={started.runtime} to the command, or end it "
            f"first: `make down RUNTIME={started.runtime}`."
        )
    return runtime


def running(settings: HostSettings) -> StackRuntime:
    """`runtime_in_use`, if the stack is up in it.

    Raises:
        StackError: it is not; or as `runtime_in_use`.
    """
    runtime = runtime_in_use(settings)
    if not runtime.is_up():
        started = last_start(settings.compose_project_name)
        elsewhere = _elsewhere(started, runtime) if started is not None else ""
        if others := other_stacks(settings.compose_project_name):
            elsewhere += f"This folder has started {' and '.join(others)}, too: is COMPOSE_PROJECT_NAME in .env right? "
        raise StackError(
            f"the stack '{settings.compose_project_name}' is not up {PLACES[runtime.name]}. {elsewhere}"
            "`make up` starts it."
        )
    return runtime


def _choose(settings: HostSettings, started: Started | None) -> Choice:
    if settings.runtime is not Runtime.AUTO:
        return Choice(make_runtime(settings.runtime.value, settings), f"RUNTIME={settings.runtime.value}")
    last = started.runtime if started is not None else None
    if last == LocalRuntime.name:
        local = LocalRuntime(settings)
        if local.is_up():
            return Choice(local, "the stack is already up there")
        if local.has_items():
            return Choice(local, "its items are there; RUNTIME=docker starts without them")
    try:
        return Choice(make_runtime(DockerRuntime.name, settings), "a Docker engine answers")
    except NoEngineError as error:
        if last == DockerRuntime.name:
            raise StackError(
                f"this stack was last started on Docker, and its items are there, but {error} `make up RUNTIME=local` "
                "starts another one beside it, without them."
            ) from error
        return Choice(LocalRuntime(settings), str(error).split(". ")[0])


def _require_same_place(settings: HostSettings, started: Started, runtime: StackRuntime) -> None:
    """Refuse to start a stack a second time, or without the items that it has elsewhere."""
    head = started.knobs.get("CLUSTER_HEAD")
    if head and not settings.cluster_head and _is_up(started.runtime, settings):
        raise works_for_another(head)
    if started.runtime != runtime.name:
        if _is_up(started.runtime, settings):
            raise StackError(
                f"this stack is already up {PLACES[started.runtime]}: `make down RUNTIME={started.runtime}` first, or "
                "set another COMPOSE_PROJECT_NAME and other ports for a second one."
            )
        if runtime.has_items():
            print(f"the items {PLACES[started.runtime]} stay there; {PLACES[runtime.name]} are those of before.")
        else:
            print(
                f"the items {PLACES[started.runtime]} stay there. To bring them here: `make down`, `make backup "
                f"RUNTIME={started.runtime}`, `make up RUNTIME={runtime.name}`, `make restore`."
            )
    elif (elsewhere := _elsewhere(started, runtime)) and not runtime.has_items():
        raise StackError(
            f"{elsewhere}Its items are there. Choose that engine again (`docker context ls`, DOCKER_HOST), or set "
            "another COMPOSE_PROJECT_NAME for a stack without them here; `make clean` here forgets the other one."
        )


def _elsewhere(started: Started, runtime: StackRuntime) -> str:
    """That the stack was started on another engine, as a sentence."""
    engine, engine_id = runtime.engine()
    if started.runtime != runtime.name or started.engine_id == engine_id:
        return ""
    return (
        f"It was last started on the engine at {started.engine}, and now the docker command uses the one at {engine}. "
    )


def _is_up(name: str, settings: HostSettings) -> bool:
    try:
        return make_runtime(name, settings).is_up()
    except NoEngineError:
        return False


def others_with_items(settings: HostSettings, runtime: StackRuntime) -> list[str]:
    """The names of the other runtimes in which the stack has items, as far as can be seen now."""
    found = []
    for name in PLACES:
        try:
            if name != runtime.name and make_runtime(name, settings).has_items():
                found.append(name)
        except StackError:  # no engine, or another folder's stack of this name
            pass
    return found


def make_runtime(name: str, settings: HostSettings) -> StackRuntime:
    """The runtime of this name.

    Raises:
        StackError: it is Docker, and no usable Docker is there, or its stack of this name is another folder's.
    """
    if name == LocalRuntime.name:
        return LocalRuntime(settings)
    runtime = DockerRuntime(settings, _engine())
    runtime.require_own()
    return runtime
