"""Restarts the process of every singleton, one after the other, and waits until each answers again."""

import logging
import sys
from typing import Any, Final

import ray
from ray.exceptions import RayError
from tenacity import RetryError, Retrying, retry_if_result, stop_after_delay, wait_fixed

from seedcore.actor_process import describe_process
from seedcore.bootstrap import bootstrap_actors
from seedcore.cluster import first_reason
from seedcore.errors import SeedCoreError
from seedcore.logs import configure_logging
from seedcore.settings import Settings, SettingsError, load_settings

POLL_S: Final = 0.1


def restart_actors(settings: Settings) -> list[str]:
    """Give each singleton a new process, which reads its store and its code anew; create those that are missing.

    Calls that are under way are repeated by Ray on the new process.

    Args:
        settings: where they live.

    Returns:
        the names of those that were restarted.

    Raises:
        BootstrapError: one does not come up.
    """
    handles: dict[str, Any] = bootstrap_actors(settings)
    for handle in handles.values():
        before = _process_id(handle, settings)
        ray.kill(handle, no_restart=False)  # returns before the old process is gone
        Retrying(
            retry=retry_if_result(lambda now, before=before: now == before),  # type: ignore[misc]
            stop=stop_after_delay(settings.bootstrap_deadline_s),
            wait=wait_fixed(POLL_S),
        )(_process_id, handle, settings)
    return list(handles)


def _process_id(handle: Any, settings: Settings) -> int:
    return int(ray.get(handle.__ray_call__.remote(describe_process), timeout=settings.bootstrap_deadline_s).pid)


def main() -> int:
    """Restart them, and say on standard error why if that fails."""
    try:
        settings = load_settings()
        configure_logging(settings)
        logging.getLogger("ray").setLevel(logging.ERROR)
        names = restart_actors(settings)
    except (SeedCoreError, SettingsError) as error:
        print(f"the actors were not restarted: {error}", file=sys.stderr)
        return 1
    except (RayError, RetryError) as error:
        print(f"an actor did not come up again: {first_reason(error)}. See `make monitor`.", file=sys.stderr)
        return 1
    print(f"restarted: {', '.join(names)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
