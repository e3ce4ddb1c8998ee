"""Why Ray did not do something, in the user's terms."""

import re
from collections.abc import Mapping
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Any, Final

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


def what_nobody_offers(options: Mapping[str, Any]) -> str | None:
    """What an actor with these options of Ray's waits for in vain; None if a node is large enough, or nobody tells."""
    wanted = {
        "CPU": options.get("num_cpus") or 0,
        "GPU": options.get("num_gpus") or 0,
        "memory": options.get("memory") or 0,
        **(options.get("resources") or {}),
    }
    try:
        nodes = in_thread(ray.nodes).result(EXPLAIN_TIMEOUT_S)
    except (RayError, FutureTimeoutError):
        return None
    offers = [node["Resources"] for node in nodes if node["Alive"]]
    if any(all(offer.get(name, 0) >= amount for name, amount in wanted.items()) for offer in offers):
        return None
    for name, amount in wanted.items():
        most = max((offer.get(name, 0) for offer in offers), default=0)
        if amount > most:
            unit = {"CPU": "CPUs", "GPU": "GPUs", "memory": "bytes of memory"}.get(name, f"of the resource {name!r}")
            return f"it waits for {amount:g} {unit}, and the node that offers most has {most:g}"
    return f"it waits for a node that offers all of {wanted}"


def first_reason(error: BaseException) -> str:
    """The one line of a Ray error that says why, without the traceback around it."""
    if isinstance(error, RayTaskError) and error.cause is not None:
        return f"{type(error.cause).__name__}: {error.cause}"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if getattr(error, "actor_init_failed", False):  # Ray ends the text with the constructor's own exception
        places = re.findall(r'File "[^"]*/(app/[^"]+)", line (\d+)', str(error))
        return lines[-1] + (f" ({places[-1][0]}, line {places[-1][1]})" if places else "")
    reasons = [line for line in lines if line.startswith("The actor is dead because")]
    return (reasons or lines or [type(error).__name__])[0].rstrip(".")
