"""Verbs that look at the stack, and change nothing."""

import sys
from argparse import Namespace

from scripts.host.choose_runtime import running, runtime_in_use
from scripts.host.dialogue import next_step
from scripts.host.doctor import diagnose
from scripts.host.ports import LOOPBACK
from scripts.host.remedies import explain_failures
from scripts.host.runtime import API, HEAD, StackError, relative
from scripts.host.settings import HostSettings
from scripts.host.support_bundle import new_name, write_bundle
from scripts.run_module import EXIT_BROKEN


def verify(settings: HostSettings, arguments: Namespace) -> int:
    """Prove that everything works."""
    runtime = running(settings)
    checks = runtime.run_module(API, "scripts.verify", [])
    if checks == EXIT_BROKEN:
        return checks
    client = runtime.run_module(HEAD, "scripts.check_ray_client", [])
    if checks or client:
        print("\nNext: do what the ❌ lines say; `make doctor` looks for their cause", file=sys.stderr)
        return checks or client
    if runtime.is_debugged():
        print(f"the debugger is on at {LOOPBACK}:{settings.debug_port}; `make debug OFF=1` ends it")
    return next_step("`make monitor` shows the actors, `make restart` loads new code, `make down` stops the stack")


def monitor(settings: HostSettings, arguments: Namespace) -> int:
    """Show the state of each singleton actor."""
    code = running(settings).run_module(API, "scripts.monitor_actors", arguments.rest)
    if code not in (0, 1):  # code that cannot be imported, or an option that there is not
        return code
    if code:
        print("\nNext: `make bootstrap` creates what is missing; `make doctor` says why it went", file=sys.stderr)
        return code
    # On standard error, since standard output may be JSON for another program.
    print("\nNext: `make monitor ARGS=--watch` keeps looking", file=sys.stderr)
    return 0


def doctor(settings: HostSettings, arguments: Namespace) -> int:
    """Look for what keeps the stack from working."""
    if not diagnose(settings, as_json=arguments.json):
        print("\nNext: do what the ❌ lines say, then `make doctor` again", file=sys.stderr)
        return 1
    print("\nNext: `make verify` proves that a running stack works", file=sys.stderr)
    return 0


def support_bundle(settings: HostSettings, arguments: Namespace) -> int:
    """Gather what somebody else needs to help, without secrets."""
    try:
        file = new_name(settings)
        names = write_bundle(settings, file)
    except OSError as error:
        raise StackError(f"cannot write the bundle: {error}. The checkout must be yours; see `ls -ld`.") from error
    print(f"{len(names)} files, without Ray's token, are in {relative(file)}, {file.stat().st_size} bytes")
    return next_step(f"look through it before you send it: `tar --list --file {relative(file)}`")


def logs(settings: HostSettings, arguments: Namespace) -> int:
    """Show the logs, of one service with S=NAME, of one actor with A=NAME."""
    follow = sys.stdout.isatty() if arguments.follow is None else arguments.follow == "1"
    # Of a stack that is down there may be logs as well.
    runtime = runtime_in_use(settings)
    services = ", ".join(runtime.services())
    if arguments.service and arguments.service not in runtime.services():
        raise StackError(f"there is no service '{arguments.service}'. `make logs S=SERVICE` shows one of {services}.")
    code = runtime.logs(arguments.service, follow=follow, actor=arguments.actor)
    if not follow:
        print(
            f"\nNext: `make logs S=SERVICE` shows one of {services}; `make logs A=ACTOR` what one actor said",
            file=sys.stderr,
        )
    return code


def ps(settings: HostSettings, arguments: Namespace) -> int:
    """Show the state of each service."""
    runtime = runtime_in_use(settings)
    code = runtime.ps()  # what has failed to start is of interest as well
    running(settings)
    failures = runtime.failures()
    if failures:
        print(f"\n{explain_failures(failures)}")
        return code
    return code or next_step("`make logs S=SERVICE` shows what a service says")
