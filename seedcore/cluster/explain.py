"""Why Ray did not do something, in the user's terms."""

from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Final

import ray
from ray.exceptions import RayError, RayTaskError

from seedcore.event_loop import in_thread
from seedcore.settings import Settings

EXPLAIN_TIMEOUT_S: Final = 5.0  # how long an error message may look for its own reasons


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
