"""Verbs that run what the user wants in the stack."""

from argparse import Namespace

from scripts.host.choose_runtime import running
from scripts.host.runtime import API
from scripts.host.settings import HostSettings


def run(settings: HostSettings, arguments: Namespace) -> int:
    """Run a module as a driver in the stack, with its output and its exit code."""
    return running(settings).run_module(API, arguments.module, arguments.arguments)


def shell(settings: HostSettings, arguments: Namespace) -> int:
    """Open a shell in the environment of seedcore-api."""
    runtime = running(settings)
    print("Next: try `python -m scripts.monitor_actors`; leave with `exit`")
    return runtime.shell()
