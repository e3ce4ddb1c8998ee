"""Gives singletons a new process, which runs the code on the disk and reads its store anew.

    python -m scripts.reload_actors            those that run older code
    python -m scripts.reload_actors --all      every one
    python -m scripts.reload_actors --end-own  ends those of the application, before their items are replaced

Nothing is restarted unless all of them can be born from the code on the disk.
"""

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, Final, TypeVar

import ray
from ray.exceptions import ActorDiedError, RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
from tenacity import RetryError, Retrying, retry_if_exception_type, retry_if_result, stop_after_delay, wait_fixed

from scripts.actor_trial import DEADLINE_S, Trial, try_actor
from scripts.cluster_session import join_cluster
from seedcore.cluster.actor_process import ActorProcess, describe_methods, describe_process
from seedcore.cluster.bootstrap import bootstrap_actors
from seedcore.cluster.explain import first_reason
from seedcore.cluster.singletons import singletons
from seedcore.errors import SeedCoreError
from seedcore.settings import Settings, SettingsError

T = TypeVar("T")

POLL_S: Final = 0.05
TASK_DEADLINE_S: Final = DEADLINE_S + 60.0  # a first task waits for a worker process to import what it needs


class ReloadError(Exception):
    """Raised when an actor cannot run the code on the disk; the message says why and what runs now."""


def reload_actors(settings: Settings, *, everything: bool) -> Iterator[str]:
    """Restart the singletons that run older code than is on the disk, one after the other; create missing ones.

    Calls that are under way are repeated on the new process, so they wait but do not fail. An actor whose methods are
    others now, or defined elsewhere, is created anew, since Ray would restart it with the old list of them; then only
    `MwManager` and the API repeat their calls, and handles from before are dead.

    Args:
        settings: where they live.
        everything: restart also those that run the code on the disk.

    Yields:
        a line about each, once it was restarted.

    Raises:
        BootstrapError: one is missing and cannot be created.
        ReloadError: one cannot be born from the code on the disk, and nothing was restarted; or did not come up again.
    """
    handles: dict[str, Any] = bootstrap_actors(settings)
    before = {name: _describe(handle, settings) for name, handle in handles.items()}
    stale = [name for name, process in before.items() if everything or process.is_stale]
    methods = _try_all({name: before[name] for name in stale}, settings)
    for name in stale:
        try:
            yield _renew(name, handles[name], before[name], methods[name], settings)
        except (RayError, RetryError) as error:
            raise ReloadError(
                f"{name} did not come up again within BOOTSTRAP_DEADLINE_S={settings.bootstrap_deadline_s:g}: "
                f"{first_reason(error)}. `make logs S=ray-worker` says why."
            ) from error


def end_own(settings: Settings) -> None:
    """End the singletons of the application and wait until they are dead, so that none writes what it still remembers.

    Args:
        settings: where they live.

    Raises:
        ReloadError: one does not end.
    """
    for name in (row.name for row in singletons(settings) if not row.is_ours):
        try:
            handle = ray.get_actor(name, namespace=settings.ray_namespace)
        except ValueError:  # there is none
            continue
        ray.kill(handle)
        try:
            Retrying(
                retry=retry_if_result(lambda state: state != "DEAD"),
                stop=stop_after_delay(settings.bootstrap_deadline_s),
                wait=wait_fixed(POLL_S),
            )(lambda handle=handle: ray._private.state.actors(handle._actor_id.hex()).get("State", "DEAD"))
        except RetryError as error:
            raise ReloadError(
                f"{name} did not end within BOOTSTRAP_DEADLINE_S={settings.bootstrap_deadline_s:g}. "
                "`make logs S=ray-worker` says what its node does."
            ) from error


def _try_all(processes: dict[str, ActorProcess], settings: Settings) -> dict[str, tuple[str, ...]]:
    """Try each on the node where it lives; the methods of each by its name."""
    task: Any = ray.remote(num_cpus=0, max_retries=0)(try_actor)
    trials = {
        name: task.options(scheduling_strategy=NodeAffinitySchedulingStrategy(process.node_id, soft=False)).remote(
            name, settings.state_dir
        )
        for name, process in processes.items()
    }
    found: dict[str, Trial] = {name: ray.get(trial, timeout=TASK_DEADLINE_S) for name, trial in trials.items()}
    failed = [f"{name}: {trial.reason}" for name, trial in found.items() if trial.reason]
    if failed:
        raise ReloadError("nothing was restarted, the old code goes on serving. " + "; ".join(failed))
    return {name: trial.methods for name, trial in found.items()}


def _renew(name: str, handle: Any, before: ActorProcess, methods: tuple[str, ...], settings: Settings) -> str:
    began = time.monotonic()
    how = "restarted"
    if methods == _ask(handle, describe_methods, settings):
        ray.kill(handle, no_restart=False)  # returns before the old process is gone
        try:
            after = _wait_for_another(handle, before, settings)
        except ActorDiedError:  # of its new process: Ray has the constructor's old arguments
            how = "created anew, for its constructor takes others"
            after = _create_anew(name, before, settings)
    else:
        how = "created anew, for its methods are others"
        ray.kill(handle)
        after = _create_anew(name, before, settings)
    code = after.code.running if after.code else "unknown"
    seconds = time.monotonic() - began
    return f"✅ {name}: {how}, pid {before.pid} → {after.pid}, code {code} ({seconds:.1f} s)"


def _wait_for_another(handle: Any, before: ActorProcess, settings: Settings) -> ActorProcess:
    found: ActorProcess = Retrying(
        retry=retry_if_result(lambda now: now.pid == before.pid),
        stop=stop_after_delay(settings.bootstrap_deadline_s),
        wait=wait_fixed(POLL_S),
    )(_describe, handle, settings)
    return found


def _create_anew(name: str, before: ActorProcess, settings: Settings) -> ActorProcess:
    """The actor that bootstrap creates once the one before is dead; until then it may find that one."""
    found: ActorProcess = Retrying(
        retry=retry_if_exception_type(ActorDiedError) | retry_if_result(lambda now: now.pid == before.pid),
        stop=stop_after_delay(settings.bootstrap_deadline_s),
        wait=wait_fixed(POLL_S),
    )(lambda: _describe(bootstrap_actors(settings)[name], settings))
    return found


def _describe(handle: Any, settings: Settings) -> ActorProcess:
    return _ask(handle, describe_process, settings)


def _ask(handle: Any, question: Callable[[object], T], settings: Settings) -> T:
    answer: T = ray.get(handle.__ray_call__.remote(question), timeout=settings.bootstrap_deadline_s)
    return answer


def main(argv: list[str]) -> int:
    """Reload them, and say on standard error why if that fails."""
    parser = argparse.ArgumentParser(
        prog="python -m scripts.reload_actors",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--all", action="store_true", help="also those that run the code on the disk already")
    which.add_argument("--end-own", action="store_true", help="end those of the application, and restart none")
    arguments = parser.parse_args(argv)
    try:
        settings = join_cluster()
        if arguments.end_own:
            end_own(settings)
            return 0
        reloaded = 0
        for line in reload_actors(settings, everything=arguments.all):
            print(line, flush=True)
            reloaded += 1
    except (SeedCoreError, SettingsError, ReloadError) as error:
        print(f"reload failed: {error}", file=sys.stderr)
        return 1
    except RayError as error:
        print(f"the actors do not answer: {first_reason(error)}. See `make monitor`.", file=sys.stderr)
        return 1
    if not reloaded:
        print(f"every singleton runs the code on the disk: {', '.join(row.name for row in singletons(settings))}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
