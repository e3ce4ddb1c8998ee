"""Connects this process to Ray, in the right namespace, with a message that says why where it cannot."""

import atexit
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import grpc
import ray
from ray._raylet import AuthenticationTokenLoader, Config  # type: ignore[attr-defined]
from ray.exceptions import AuthenticationError, RayError

from seedcore.cluster import ray_polling
from seedcore.cluster.retries import retrying
from seedcore.errors import AuthenticationFailedError, ClusterUnreachableError, VersionMismatchError
from seedcore.ray_environment import export_ray_environment
from seedcore.settings import AuthMode, Settings, load_settings

logger = logging.getLogger(__name__)

PROBE_TIMEOUT_S: Final = 2.0  # one try to reach the head
# The smallest call that the GCS answers and that checks the token (gcs_service.proto of Ray 2.60).
GCS_PROBE: Final = "/ray.rpc.NodeInfoGcsService/GetClusterId"

_connecting = threading.Lock()


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
        for attempt in retrying(settings, ClusterUnreachableError):
            with attempt:
                probe_head(settings)
        export_ray_environment(settings)
        reload_ray_configuration()
        ray_polling.install(quiet=quiet)
        try:
            ray.init(
                address=settings.ray_address,
                namespace=settings.ray_namespace,
                log_to_driver=False if quiet else None,  # else as RAY_LOG_TO_DRIVER says
                logging_level=logging.ERROR if quiet else logging.INFO,
            )
            if quiet:
                atexit.register(ray.shutdown)  # before Ray's own, which waits for what others print
        except AuthenticationError as error:
            raise _token_error(settings, str(error)) from error
        except (ConnectionError, RayError) as error:  # the head may have gone since it was probed
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


def reload_ray_configuration() -> None:
    """Have Ray take RAY_AUTH_MODE and the token from the environment as it is now; before `ray.init`."""
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
    except UnicodeDecodeError as error:
        raise _token_error(settings, "the file holds something else than one line of text") from error
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
