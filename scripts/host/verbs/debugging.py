"""Verbs that stop the user's code where he wants to look at it."""

import time
from argparse import Namespace

from scripts.host.choose_runtime import running
from scripts.host.dialogue import next_step
from scripts.host.ports import LOOPBACK
from scripts.host.runtime import API, require_good_code
from scripts.host.settings import HostSettings


def debug(settings: HostSettings, arguments: Namespace) -> int:
    """Restart the API under a debugger that an editor attaches to, or with --off without one."""
    runtime = running(settings)
    began = time.monotonic()
    require_good_code(runtime)
    runtime.debug(is_on=not arguments.off)
    print(f"{API} is ready after {time.monotonic() - began:.1f} s")
    if arguments.off:
        return next_step("nothing listens for a debugger any more; `make debug` starts it again")
    where = "path mapping: this folder to /app" if runtime.name == "docker" else "no path mapping"
    print(
        f"debugpy listens at {LOOPBACK}:{settings.debug_port}; whoever reaches it can run code in the API.\n"
        f"  VS Code: Run and Debug, `the API{' on Docker' if runtime.name == 'docker' else ', embedded'}`\n"
        f"  PyCharm: Run, Attach to DAP, {LOOPBACK}:{settings.debug_port}, {where}\n"
        "Code that is saved is not reloaded meanwhile; `make restart` loads it, then attach again."
    )
    return next_step("attach, set a breakpoint in app/routes.py and send a request; `make debug OFF=1` ends it")


def debug_ray(settings: HostSettings, arguments: Namespace) -> int:
    """Attach this terminal to a `breakpoint()` in a task or actor."""
    print("Choose a breakpoint by its index; then `n`, `p NAME`, `c` as in pdb. Ctrl-D leaves.")
    return running(settings).debug_ray()
