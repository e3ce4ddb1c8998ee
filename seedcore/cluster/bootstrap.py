"""Creates every singleton actor once. `python -m seedcore.bootstrap` is what the init container runs."""

import logging
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass
from typing import Any, Final

import ray
from ray.actor import ActorHandle
from ray.exceptions import ActorDiedError, GetTimeoutError, RayError
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_fixed

from seedcore.cluster.actor_process import with_methods
from seedcore.cluster.connection import connect
from seedcore.cluster.explain import explain_silence, first_reason, what_nobody_offers
from seedcore.cluster.lookup import find_actor, ping
from seedcore.cluster.singletons import Singleton, actor_options, require_different_names, singletons
from seedcore.errors import EXIT_ONLY_YOURS, BootstrapError, SeedCoreError
from seedcore.event_loop import in_thread
from seedcore.logs import configure_logging
from seedcore.settings import Settings, SettingsError, load_settings

logger = logging.getLogger(__name__)

MAX_THREADS: Final = 16  # singletons that are created at a time
RECREATE_BACKOFF_S: Final = 0.2  # before a singleton that was killed meanwhile is created again


@dataclass(frozen=True)
class _Outcome:
    row: Singleton
    handle: ActorHandle[Any] | None = None
    created: bool = False
    reason: str = ""


def bootstrap_actors(
    settings: Settings | None = None, rows: Sequence[Singleton] | None = None
) -> dict[str, ActorHandle[Any]]:
    """Create the singletons that are missing, and wait until every one has answered a ping, or is there and busy.

    Safe to call from many processes at once, and again and again: Ray keeps one actor per name and namespace.
    Blocks; in a coroutine use `asyncio.to_thread(bootstrap_actors)`.

    Args:
        settings: where; the environment's by default.
        rows: which; the table in `seedcore.cluster.singletons` by default.

    Returns:
        The actors' handles by name.

    Raises:
        BootstrapError: names each singleton that is not alive within `BOOTSTRAP_DEADLINE_S`, and why.
        InvalidAppError, InvalidSingletonError: the table cannot be used.
        ClusterUnreachableError, AuthenticationFailedError, VersionMismatchError: as `seedcore.cluster.connect`.
    """
    settings = settings or load_settings()
    rows = singletons(settings) if rows is None else rows
    require_different_names(rows)
    connect(settings)
    deadline = time.monotonic() + settings.bootstrap_deadline_s
    existing = _existing_names(settings)
    with ThreadPoolExecutor(MAX_THREADS, thread_name_prefix="bootstrap") as pool:
        outcomes = list(pool.map(lambda row: _create_and_ping(row, settings, existing, deadline), rows))
    failed = [outcome for outcome in outcomes if outcome.handle is None]
    if failed:
        reasons = "\n".join(f"  {outcome.row.name}: {outcome.reason}" for outcome in failed)
        raise BootstrapError(
            f"{len(failed)} of {len(rows)} singletons are not alive:\n{reasons}",
            only_yours=not any(outcome.row.is_ours for outcome in failed),
        )
    logger.info(
        "Bootstrapped actors in namespace=%s: %s",
        settings.ray_namespace,
        ", ".join(f"{outcome.row.name}={'created' if outcome.created else 'reused'}" for outcome in outcomes),
        extra={"namespace": settings.ray_namespace},
    )
    return {outcome.row.name: outcome.handle for outcome in outcomes if outcome.handle is not None}


def _existing_names(settings: Settings) -> frozenset[str]:
    try:
        named = in_thread(lambda: ray.util.list_named_actors(all_namespaces=True)).result(settings.bootstrap_deadline_s)
    except FutureTimeoutError:
        raise BootstrapError(
            f"the Ray head at {settings.ray_address} stopped answering; see `make ps` and `make logs S=ray-head`"
        ) from None
    return frozenset(actor["name"] for actor in named if actor["namespace"] == settings.ray_namespace)


def create_actor(row: Singleton, settings: Settings) -> ActorHandle[Any]:
    """The handle of the singleton, created if no actor of its name exists. Does not wait until it is alive."""
    remote_class: Any = ray.remote(row.actor_class)
    handle: ActorHandle[Any] = remote_class.options(**actor_options(row, settings)).remote(**row.arguments)
    return with_methods(handle)


def _create_and_ping(row: Singleton, settings: Settings, existing: frozenset[str], deadline: float) -> _Outcome:
    # A living name can belong to an actor that is just being killed; then it is created again.
    again = Retrying(
        retry=retry_if_exception_type(_KilledMeanwhileError),
        stop=stop_after_delay(max(0.0, deadline - time.monotonic())),
        wait=wait_fixed(RECREATE_BACKOFF_S),
        reraise=True,
    )
    try:
        handle = again(_create_once, row, settings, deadline)
    except _SilentError as error:
        from seedcore.cluster.busy import busy_with  # late: Ray's State API is much to import for every task

        unborn = _why_unborn(row, error.handle, settings)
        if unborn:
            return _Outcome(row, reason=unborn)
        busy = busy_with(row, error.handle)
        if busy and not busy.is_constructor and row.name in existing:
            return _Outcome(row, error.handle)
        silence = f"did not answer within BOOTSTRAP_DEADLINE_S={settings.bootstrap_deadline_s:g}. "
        return _Outcome(row, reason=silence + (f"It is {busy}." if busy else explain_silence(settings)))
    except _BrokenRowError as error:
        table = "seedcore/cluster/singletons.py" if row.is_ours else "SINGLETONS in app/actors.py"
        return _Outcome(row, reason=f"Ray refuses its row of {table}: {error}")
    except (_KilledMeanwhileError, RayError) as error:
        return _Outcome(row, reason=first_reason(error))
    return _Outcome(row, handle, created=row.name not in existing and _is_from_this_job(handle))


def _why_unborn(row: Singleton, handle: ActorHandle[Any], settings: Settings) -> str | None:
    """What it waits for in vain, if it does; then it gives its name to the one of a row that was corrected."""
    wanted = what_nobody_offers(actor_options(row, settings))
    if wanted is None or ray._private.state.actors(handle._actor_id.hex()).get("State") != "PENDING_CREATION":
        return None
    ray.kill(handle)
    return f"{wanted}. Correct the options of its row, or add a node that has as much, then `make bootstrap`."


class _KilledMeanwhileError(Exception):
    pass


class _BrokenRowError(Exception):
    pass


class _SilentError(Exception):
    def __init__(self, handle: ActorHandle[Any]) -> None:
        super().__init__()
        self.handle = handle


def _create_once(row: Singleton, settings: Settings, deadline: float) -> ActorHandle[Any]:
    try:
        handle = create_actor(row, settings)
    except RayError:
        raise
    except Exception as error:  # Ray checks options, arguments and class by assertions and errors of many types
        first = str(error).partition("\n")[0].rstrip(":")  # of a page about serialization
        raise _BrokenRowError(f"{type(error).__name__}: {first}") from error
    try:
        ping(handle, max(0.0, deadline - time.monotonic()))
    except GetTimeoutError as error:
        raise _SilentError(handle) from error
    except ActorDiedError as error:
        if error.actor_init_failed:
            raise
        raise _KilledMeanwhileError(first_reason(error)) from error
    return handle


def _is_from_this_job(handle: ActorHandle[Any]) -> bool:
    # An actor's id ends with the id of the job that created it.
    return bool(handle._actor_id.hex().endswith(ray.get_runtime_context().get_job_id()))


def get_singleton(name: str, settings: Settings | None = None) -> Any:
    """The living singleton actor of this name; creates it if `AUTO_CREATE` is on and it is missing.

    Returns:
        its `ray.actor.ActorHandle`. It is of type Any since a type checker cannot know the methods of the actor.

    Raises:
        ActorNotFoundError, ActorUnavailableError: as `seedcore.cluster.connection.find_actor`.
    """
    settings = settings or load_settings()
    connect(settings)
    rows = {row.name: row for row in singletons(settings)}
    row = rows.get(name)
    if row is None:
        no_row = f"no row of SINGLETONS in app/actors.py has this name; there are {', '.join(rows)}"
        return find_actor(name, settings, if_missing=no_row)
    return find_actor(name, settings, (lambda: create_actor(row, settings)) if settings.auto_create else None)


def get_mw_store() -> Any:
    """The actor that keeps what each organ remembers."""
    return get_singleton(load_settings().mw_actor_name)


def get_miss_tracker() -> Any:
    """The actor that counts misses."""
    return get_singleton(load_settings().miss_tracker_actor_name)


def get_shared_cache() -> Any:
    """The actor that keeps the items that every organ sees."""
    return get_singleton(load_settings().shared_cache_actor_name)


def main() -> int:
    """Bootstrap, and say on standard error why if it fails. The exit code is `EXIT_ONLY_YOURS` if all of ours live."""
    try:
        settings = load_settings()
        configure_logging(settings)
        connect(settings, quiet=True)  # what goes wrong in an actor is in the reason, without Ray's tracebacks
        bootstrap_actors(settings)
    except (SeedCoreError, SettingsError) as error:
        print(f"bootstrap failed: {error}", file=sys.stderr)  # noqa: T201
        return EXIT_ONLY_YOURS if isinstance(error, BootstrapError) and error.only_yours else 1
    return 0
