"""Connects to Ray in the right namespace, finds actors, and explains failures."""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import contextmanager
from typing import Any, Final, TypeVar

import grpc
import ray
from ray._raylet import AuthenticationTokenLoader, Config  # type: ignore[attr-defined]
from ray.actor import ActorHandle
from ray.exceptions import AuthenticationError, GetTimeoutError, RayActorError, RayError, RayTaskError
from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_attempt, stop_after_delay, wait_fixed

from seedcore.cluster import ray_polling
from seedcore.errors import (
    ActorNotFoundError,
    ActorUnavailableError,
    AuthenticationFailedError,
    ClusterUnreachableError,
    SeedCoreError,
    VersionMismatchError,
)
from seedcore.event_loop import in_thread
from seedcore.ray_environment import export_ray_environment
from seedcore.settings import AuthMode, Settings, load_settings

T = TypeVar("T")
logger = logging.getLogger(__name__)

PROBE_TIMEOUT_S: Final = 2.0  # one try to reach the head
PING_AGAIN_S: Final = 10.0  # without an answer to the last ping
EXPLAIN_TIMEOUT_S: Final = 5.0  # how long an error message may look for its own reasons
# The smallest call that the GCS answers and that checks the token (gcs_service.proto of Ray 2.60).
GCS_PROBE: Final = "/ray.rpc.NodeInfoGcsService/GetClusterId"

_connecting = threading.Lock()


class _Retries:
    """Counts, on any number of threads."""

    def __init__(self) -> None:
        self.number = 0
        self._counting = threading.Lock()

    def count(self) -> None:
        with self._counting:
            self.number += 1


_retries: Final = _Retries()


def lookup_retries() -> int:
    """How often this process looked an actor or the head up once more, since the try before had failed."""
    return _retries.number


def connect(settings: Settings | None = None, *, quiet: bool = False) -> None:
    """Make this process a driver of the cluster at `RAY_ADDRESS`, in `RAY_NAMESPACE`. Does nothing if it is one.

    Args:
        settings: of another cluster than the environment's.
        quiet: neither Ray's own words nor what tasks and actors print appear here; for scripts whose output is read.

    Raises:
        ClusterUnreachableError: no head answered, `LOOKUP_RETRIES` times.
        AuthenticationFailedError: the token is missing, empty or wrong.
        VersionMismatchError: the cluster runs another Ray or Python.
    """
    settings = settings or load_settings()
    with _only_thread_that_connects(settings):
        if ray.is_initialized():
            return
        for attempt in _retrying(settings, ClusterUnreachableError):
            with attempt:
                probe_head(settings)
        export_ray_environment(settings)
        _reload_ray_configuration()
        ray_polling.install(quiet=quiet)
        try:
            ray.init(
                address=settings.ray_address,
                namespace=settings.ray_namespace,
                log_to_driver=not quiet,
                logging_level=logging.ERROR if quiet else logging.INFO,
            )
        except AuthenticationError as error:
            raise _token_error(settings, str(error)) from error
        except ConnectionError as error:
            raise _unreachable(settings, str(error)) from error
        except RuntimeError as error:
            if "Version mismatch" in str(error):
                raise VersionMismatchError(
                    f"this process and the cluster at {settings.ray_address} differ: {error}\n"
                    "Use the same image or virtual environment for both: rebuild with `make up`."
                ) from error
            raise
        logger.info(
            "Ray initialized: address=%s namespace=%s",
            settings.ray_address,
            settings.ray_namespace,
            extra={"namespace": settings.ray_namespace},
        )


@contextmanager
def _only_thread_that_connects(settings: Settings) -> Iterator[None]:
    if not _connecting.acquire(timeout=settings.lookup_deadline_s):
        raise _unreachable(settings, f"another thread is still trying after {settings.lookup_deadline_s:g} s")
    try:
        yield
    finally:
        _connecting.release()


def _reload_ray_configuration() -> None:
    # Ray keeps what RAY_AUTH_MODE was when it was imported, and the first token that it read: a process that imported
    # Ray before this would send none (ray._private.authentication_test_utils.reset_auth_token_state does the same).
    Config.initialize("")
    AuthenticationTokenLoader.instance().reset_cache()


def probe_head(settings: Settings) -> None:
    """Try once whether a head answers and accepts the token, for at most `PROBE_TIMEOUT_S`.

    `ray.init` itself hangs for 80 s where nobody listens and for 20 s on a wrong token, then names neither.

    Raises:
        ClusterUnreachableError, AuthenticationFailedError: as `connect`.
    """
    if settings.ray_address == "auto":
        return
    metadata = []
    if settings.ray_auth_mode is AuthMode.TOKEN:
        metadata = [("authorization", f"Bearer {_read_token(settings)}")]
    with grpc.insecure_channel(settings.ray_address, options=[("grpc.enable_http_proxy", 0)]) as channel:
        try:
            get_cluster_id: Any = channel.unary_unary(GCS_PROBE)
            get_cluster_id(b"", timeout=PROBE_TIMEOUT_S, metadata=metadata)
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.UNAUTHENTICATED:
                raise _token_error(settings, "the head does not accept it") from error
            raise _unreachable(settings, error.details() or error.code().name) from error


def _read_token(settings: Settings) -> str:
    path = settings.ray_auth_token_path
    try:
        token = path.read_text().strip()
    except OSError as error:
        raise _token_error(settings, f"the file cannot be read: {error.strerror}") from error
    if not token:
        raise _token_error(settings, "the file is empty")
    if not token.isascii() or not token.isprintable():
        raise _token_error(settings, "the file holds something else than one line of text")
    return token


def _token_error(settings: Settings, reason: str) -> AuthenticationFailedError:
    return AuthenticationFailedError(
        f"Ray's token in {settings.ray_auth_token_path} (RAY_AUTH_TOKEN_PATH) does not work: {reason}. "
        "All nodes and drivers need the same token; `make rotate-token` gives all of them a new one."
    )


def _unreachable(settings: Settings, reason: str) -> ClusterUnreachableError:
    return ClusterUnreachableError(
        f"no Ray head answers at RAY_ADDRESS={settings.ray_address}: {reason}. Is the stack up (`make ps`, `make up`)? "
        "When it runs on Docker, the head can be reached from its containers only (`make shell`)."
    )


def find_actor(name: str, settings: Settings, create: Callable[[], ActorHandle[Any]] | None = None) -> ActorHandle[Any]:
    """The actor of this name in `RAY_NAMESPACE`, after it answered a ping.

    Tried `LOOKUP_RETRIES` times, `LOOKUP_BACKOFF_S` apart, for at most `LOOKUP_DEADLINE_S` in all.

    Args:
        name: the actor's name.
        settings: where and how to look.
        create: what creates the actor when it is missing; None looks only.

    Raises:
        ActorNotFoundError: no such actor; says in which namespaces the name does exist.
        ActorUnavailableError: it exists but did not answer.
    """
    started = time.monotonic()
    deadline = started + settings.lookup_deadline_s
    tries = 0
    try:
        for attempt in _retrying(settings, ActorNotFoundError, RayActorError):
            with attempt:
                tries += 1
                return _look_up(name, settings, create, deadline)
    except (ActorNotFoundError, RayActorError, FutureTimeoutError, GetTimeoutError) as error:
        tried = f"tried {tries} times in {time.monotonic() - started:.1f} s"
        raise _lookup_error(name, settings, tried, error) from error
    raise AssertionError("tenacity ends with a return or an exception")


def _look_up(
    name: str, settings: Settings, create: Callable[[], ActorHandle[Any]] | None, deadline: float
) -> ActorHandle[Any]:
    def get_or_create() -> ActorHandle[Any]:
        try:
            return ray.get_actor(name, namespace=settings.ray_namespace)
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


def _lookup_error(name: str, settings: Settings, tried: str, error: BaseException) -> SeedCoreError:
    what = f"Failed to look up actor with name '{name}' in namespace '{settings.ray_namespace}' ({tried}): "
    if isinstance(error, FutureTimeoutError) and not isinstance(error, GetTimeoutError):
        return ActorUnavailableError(what + "the Ray head did not answer. It may be restarting; see `make ps`.")
    if isinstance(error, GetTimeoutError):
        return ActorUnavailableError(what + "it exists, but did not answer a ping. " + explain_silence(settings))
    if isinstance(error, RayActorError):
        return ActorUnavailableError(what + f"it died: {first_reason(error)}. `make bootstrap` creates it again.")
    elsewhere = _namespaces_of(name)
    if elsewhere:
        return ActorNotFoundError(
            what
            + f"it does exist in {', '.join(map(repr, elsewhere))}. Set RAY_NAMESPACE to the same value everywhere, "
            "or run `make bootstrap` if it is missing here."
        )
    return ActorNotFoundError(
        what
        + "it does not exist in any namespace. Run `make bootstrap`, or set AUTO_CREATE=1 to create what is missing."
    )


def _namespaces_of(name: str) -> list[str]:
    try:
        named = in_thread(lambda: ray.util.list_named_actors(all_namespaces=True)).result(EXPLAIN_TIMEOUT_S)
    except (RayError, FutureTimeoutError) as error:
        logger.warning("cannot list the namespaces of actor '%s': %s", name, error)
        return []
    return sorted({actor["namespace"] for actor in named if actor["name"] == name})


def explain_silence(settings: Settings) -> str:
    """Why an actor that exists may not answer."""
    try:
        offered = in_thread(ray.cluster_resources).result(EXPLAIN_TIMEOUT_S)
    except (RayError, FutureTimeoutError) as error:
        return f"The Ray head does not answer either ({error or type(error).__name__}); see `make ps`."
    if not offered.get(settings.state_resource):
        return (
            f"No node offers the resource '{settings.state_resource}' (STATE_RESOURCE), which singletons need: "
            "is a ray-worker up? See `make ps` and `make logs S=ray-worker`."
        )
    return "It may be restarting or busy; see `make monitor` and `make logs S=ray-worker`."


def first_reason(error: BaseException) -> str:
    """The one line of a Ray error that says why, without the traceback around it."""
    if isinstance(error, RayTaskError) and error.cause is not None:
        return f"{type(error.cause).__name__}: {error.cause}"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if getattr(error, "actor_init_failed", False):  # Ray ends the text with the constructor's own exception
        return lines[-1]
    reasons = [line for line in lines if line.startswith("The actor is dead because")]
    return (reasons or lines or [type(error).__name__])[0].rstrip(".")


def _retrying(settings: Settings, *errors: type[BaseException]) -> Iterable[Any]:
    def note_retry(state: RetryCallState) -> None:
        _retries.count()
        error = state.outcome.exception() if state.outcome else None
        logger.debug("try %d of %d failed: %s", state.attempt_number, settings.lookup_retries, error)

    return Retrying(
        retry=retry_if_exception_type(errors),
        stop=stop_after_attempt(settings.lookup_retries) | stop_after_delay(settings.lookup_deadline_s),
        wait=wait_fixed(settings.lookup_backoff_s),
        before_sleep=note_retry,
        reraise=True,
    )
