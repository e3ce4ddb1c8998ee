"""Verbs that bring the code on the disk into a running stack."""

import time
from argparse import Namespace

from scripts.host.choose_runtime import running
from scripts.host.dialogue import next_step
from scripts.host.runtime import API, HEAD, StackError
from scripts.host.settings import HostSettings
from scripts.run_module import EXIT_BROKEN


def restart(settings: HostSettings, arguments: Namespace) -> int:
    """Restart seedcore-api with the code on disk, wait until it is ready."""
    runtime = running(settings)
    # On the head, since the API may be what does not run.
    code = runtime.run_module(HEAD, "scripts.try_api", [])
    if code == EXIT_BROKEN:
        raise StackError("nothing was restarted, the old code goes on serving. Correct what it says above.")
    if code:
        raise StackError(f"{HEAD} does not run, so nothing was tried. `make ps`, then `make up`.")
    began = time.monotonic()
    runtime.restart_api()
    print(f"{API} is ready after {time.monotonic() - began:.1f} s")
    return next_step("`make verify`; the actors were not restarted and remember everything")


def reload_actors(settings: HostSettings, arguments: Namespace) -> int:
    """Restart the singletons that run older code than is on the disk."""
    if running(settings).run_module(HEAD, "scripts.reload_actors", arguments.rest):
        raise StackError("the actors without a ✅ line were not restarted, see above. `make monitor` shows all.")
    return next_step("`make monitor` shows which code each actor runs")


def bootstrap(settings: HostSettings, arguments: Namespace) -> int:
    """Create the singletons that are missing."""
    code = running(settings).bootstrap()
    if code:
        raise StackError("it says above why. `make doctor` looks for the cause, `make logs` shows more.")
    return next_step("`make monitor` shows the actors")
