"""Proves that Ray Client works: `ray.init("ray://...")` lists the singleton actors.

Ray Client is for people at a prompt; services are native drivers. `RAY_CLIENT_ADDRESS` says where, by default where
it is in the containers.
"""

import logging
import os
import sys
from typing import Final

import ray
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_fixed

from scripts.checks import CheckError, run_checks
from scripts.cluster_checks import cluster_check
from seedcore.cluster.singletons import singletons
from seedcore.ray_environment import export_ray_environment
from seedcore.settings import Settings, SettingsError, load_settings

DEFAULT_ADDRESS: Final = "ray://ray-head:10001"
TRIES: Final = 3  # Ray Client's server may fail to start once while a node is joining
BACKOFF_S: Final = 1.0


def lists_actors(settings: Settings, address: str) -> str:
    """Connect through Ray Client and find every singleton."""
    retrying = Retrying(
        retry=retry_if_exception_type((ConnectionError, RuntimeError, TimeoutError)),
        stop=stop_after_attempt(TRIES),
        wait=wait_fixed(BACKOFF_S),
        reraise=True,
    )
    try:
        retrying(ray.init, address, namespace=settings.ray_namespace, logging_level=logging.ERROR)
    except (ConnectionError, RuntimeError, TimeoutError) as error:
        raise CheckError(f"no connection to {address}: {error}. See `make logs S=ray-head`.") from error
    named = set(ray.util.list_named_actors())
    missing = [row.name for row in singletons(settings) if row.name not in named]
    if missing:
        raise CheckError(f"{', '.join(missing)} missing in '{settings.ray_namespace}'. Run `make bootstrap`.")
    return f"{', '.join(sorted(named))} in '{settings.ray_namespace}' at {address}"


def main() -> int:
    """Run the check."""
    try:
        settings = load_settings()
    except SettingsError as error:
        print(f"❌ settings: {error}")
        return 1
    export_ray_environment(settings)
    address = os.environ.get("RAY_CLIENT_ADDRESS", DEFAULT_ADDRESS)
    check = cluster_check("Ray Client lists the actors", lambda: lists_actors(settings, address))
    return 0 if run_checks([check]) else 1


if __name__ == "__main__":
    sys.exit(main())
