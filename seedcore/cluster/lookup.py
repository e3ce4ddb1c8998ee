"""Finds an actor by its name, and says why it is not found."""

import time
from collections.abc import Callable
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Any, Final

import ray
from ray.actor import ActorHandle
from ray.exceptions import GetTimeoutError, RayActorError, RayError

from seedcore.cluster.actor_process import with_methods
from seedcore.cluster.explain import EXPLAIN_TIMEOUT_S, explain_silence, first_reason
from seedcore.cluster.retries import retrying
from seedcore.errors import ActorNotFoundError, ActorUnavailableError, SeedCoreError
from seedcore.event_loop import in_thread
from seedcore.settings import Settings

CREATE_IT: Final = "run `make bootstrap`, or set AUTO_CREATE=1 to create what is missing"
PING_AGAIN_S: Final = 10.0  # without an answer to the last ping


def find_actor(
    name: str,
    settings: Settings,
    create: Callable[[], ActorHandle[Any]] | None = None,
    if_missing: str = CREATE_IT,
) -> ActorHandle[Any]:
    """The actor of this name in `RAY_NAMESPACE`, after it answered a ping.

    Tried `LOOKUP_RETRIES` times, `LOOKUP_BACKOFF_S` apart, for at most `LOOKUP_DEADLINE_S` in all.

    Args:
        name: the actor's name.
        settings: where and how to look.
        create: what creates the actor when it is missing; None looks only.
        if_missing: what the user is told to do where it exists nowhere.

    Raises:
        ActorNotFoundError: no such actor; says in which namespaces the name does exist.
        ActorUnavailableError: it exists but did not answer.
    """
    started = time.monotonic()
    deadline = started + settings.lookup_deadline_s
    tries = 0
    try:
        for attempt in retrying(settings, ActorNotFoundError, RayActorError):
            with attempt:
                tries += 1
                return _look_up(name, settings, create, deadline)
    except (ActorNotFoundError, RayActorError, FutureTimeoutError, GetTimeoutError) as error:
        tried = f"tried {tries} times in {time.monotonic() - started:.1f} s"
        raise _lookup_error(name, settings, tried, error, if_missing) from error
    raise AssertionError("tenacity ends with a return or an exception")


def _look_up(
    name: str, settings: Settings, create: Callable[[], ActorHandle[Any]] | None, deadline: float
) -> ActorHandle[Any]:
    def get_or_create() -> ActorHandle[Any]:
        try:
            return with_methods(ray.get_actor(name, namespace=settings.ray_namespace))
        except ValueError:
            if create is None:
                raise ActorNotFoundError(name) from None
            return create()

    # In a thread, since ray.get_actor waits for a lost head without a deadline.
    handle = in_thread(get_or_create).result(timeout=max(0.0, deadline - time.monotonic()))
    ping(handle, max(0.0, deadline - time.monotonic()))
    return handle


def ping(handle: ActorHandle[Any], timeout_s: float) -> None:
    """Wait until the actor has answered.

    Raises:
        GetTimeoutError: it did not within `timeout_s` seconds.
        RayActorError: it is dead.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        left_s = max(0.0, deadline - time.monotonic())
        try:
            # Ray may forget a ping whose actor dies while it is created; a new one gets the reason.
            ray.get(handle.__ray_ready__.remote(), timeout=min(left_s, PING_AGAIN_S))
        except GetTimeoutError:
            if left_s <= PING_AGAIN_S:
                raise
        else:
            return


def _lookup_error(name: str, settings: Settings, tried: str, error: BaseException, if_missing: str) -> SeedCoreError:
    what = f"Failed to look up actor with name '{name}' in namespace '{settings.ray_namespace}' ({tried}): "
    if isinstance(error, FutureTimeoutError) and not isinstance(error, GetTimeoutError):
        return ActorUnavailableError(what + "the Ray head did not answer. It may be restarting; see `make ps`.")
    if isinstance(error, GetTimeoutError):
        return ActorUnavailableError(what + "it exists, but did not answer a ping. " + explain_silence(settings))
    if isinstance(error, RayActorError):
        return ActorUnavailableError(what + f"it died: {first_reason(error)}. `make bootstrap` creates it again.")
    try:
        named = in_thread(lambda: ray.util.list_named_actors(all_namespaces=True)).result(EXPLAIN_TIMEOUT_S)
    except (RayError, FutureTimeoutError) as listing:
        why = str(listing) or type(listing).__name__
        return ActorNotFoundError(
            f"{what}it is not there, and other namespaces cannot be listed: {why}. See `make ps`."
        )
    elsewhere = sorted({actor["namespace"] for actor in named if actor["name"] == name})
    if elsewhere:
        return ActorNotFoundError(
            f"{what}it does exist in {', '.join(map(repr, elsewhere))}. Set RAY_NAMESPACE to the same value "
            f"everywhere; if it is missing here, {if_missing}."
        )
    return ActorNotFoundError(f"{what}it does not exist in any namespace: {if_missing}.")
