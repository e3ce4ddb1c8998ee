"""The verbs of the stack, in both runtimes; `make VERB` calls `python -m scripts.stack VERB`."""

import argparse
import fcntl
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Final

from scripts.choose_runtime import runtime_in_use, runtime_to_start
from scripts.runtime import API, HEAD, LOCAL_DIR, SERVICES, StackError, StackRuntime, relative
from scripts.token_file import ensure_token
from seedcore.settings import PROJECT_ROOT, AuthMode, Settings, SettingsError, load_settings

EXIT_FAILED: Final = 1
EXIT_BAD_SETTINGS: Final = 2
EXIT_INTERRUPTED: Final = 130

Arguments = argparse.Namespace


def up(settings: Settings, arguments: Arguments) -> int:
    """Build and start the stack, wait until it is healthy."""
    began = time.monotonic()
    ensure_token(settings.ray_auth_token_path)
    choice = runtime_to_start(settings)
    print(f"runtime: {choice.runtime.name} ({choice.reason})")
    choice.runtime.up()
    print(
        f"\nThe stack '{settings.compose_project_name}' is up after {time.monotonic() - began:.1f} s:\n"
        f"  API        http://127.0.0.1:{settings.api_port}\n"
        f"  API docs   http://127.0.0.1:{settings.api_port}/docs\n"
        f"  dashboard  http://127.0.0.1:{settings.dashboard_port}"
    )
    if settings.ray_auth_mode is AuthMode.TOKEN:
        print(f"             asks for the token in {relative(settings.ray_auth_token_path)} (`make token` shows it)")
    return next_step("`make verify` proves that it works, `make monitor` shows the actors, `make down` stops it")


def down(settings: Settings, arguments: Arguments) -> int:
    """Stop the stack; the items stay."""
    runtime_in_use(settings).down(remove_state=False)
    return next_step("the items are kept: `make up` starts again with them, `make clean` deletes them")


def clean(settings: Settings, arguments: Arguments) -> int:
    """Stop the stack and delete all items, after asking."""
    runtime = runtime_in_use(settings)
    if not arguments.yes:
        question = f"Delete all items of the stack '{settings.compose_project_name}'? [y/N] "
        if not sys.stdin.isatty():
            raise StackError("`make clean` deletes all items, and there is nobody to ask. `make clean YES=1` means it.")
        if input(question).strip().lower() not in ("y", "yes"):
            print("nothing is deleted")
            return 0
    runtime.down(remove_state=True)
    return next_step("everything is deleted: `make up` starts with an empty memory")


def restart(settings: Settings, arguments: Arguments) -> int:
    """Restart seedcore-api with the code on disk, wait until it is ready."""
    runtime = running(settings)
    began = time.monotonic()
    runtime.restart_api()
    print(f"{API} is ready after {time.monotonic() - began:.1f} s")
    return next_step("`make verify`; the actors were not restarted and remember everything")


def bootstrap(settings: Settings, arguments: Arguments) -> int:
    """Create the singletons that are missing."""
    code = running(settings).bootstrap()
    if code:
        raise StackError("bootstrap failed, as it says above. `make ps` and `make logs` show more.")
    return next_step("`make monitor` shows the actors")


def verify(settings: Settings, arguments: Arguments) -> int:
    """Prove that everything works."""
    runtime = running(settings)
    checks = runtime.run_module(API, "scripts.verify", arguments.rest)
    client = runtime.run_module(HEAD, "scripts.check_ray_client", [])
    if checks or client:
        print("\nNext: do what the ❌ lines say; `make logs` and `make ps` show more", file=sys.stderr)
        return checks or client
    return next_step("`make monitor` shows the actors, `make restart` loads new code, `make down` stops the stack")


def monitor(settings: Settings, arguments: Arguments) -> int:
    """Show the state of each singleton actor."""
    code = running(settings).run_module(API, "scripts.monitor_actors", arguments.rest)
    if code:
        print("\nNext: `make bootstrap` creates what is missing; `make logs` says why it went", file=sys.stderr)
        return code
    # On standard error, since standard output may be JSON for another program.
    print("\nNext: `make monitor ARGS=--watch` keeps looking", file=sys.stderr)
    return 0


def logs(settings: Settings, arguments: Arguments) -> int:
    """Show the logs, of one service with S=NAME."""
    follow = sys.stdout.isatty() if arguments.follow is None else arguments.follow == "1"
    # Of a stack that is down there may be logs as well.
    code = runtime_in_use(settings).logs(arguments.service, follow=follow)
    if not follow:
        print("\nNext: `make logs S=SERVICE` shows one of " + ", ".join(SERVICES), file=sys.stderr)
    return code


def ps(settings: Settings, arguments: Arguments) -> int:
    """Show the state of each service."""
    runtime = runtime_in_use(settings)
    code = runtime.ps()  # what has failed to start is of interest as well
    running(settings)
    return code or next_step("`make logs S=SERVICE` shows what a service says")


def shell(settings: Settings, arguments: Arguments) -> int:
    """Open a shell in the environment of seedcore-api."""
    runtime = running(settings)
    print("Next: try `python -m scripts.monitor_actors`; leave with `exit`")
    return runtime.shell()


def scale(settings: Settings, arguments: Arguments) -> int:
    """Run another number of ray-worker nodes."""
    running(settings).scale(settings.ray_worker_replicas)
    print(f"ray-worker nodes: {settings.ray_worker_replicas}")
    return next_step("`make ps` shows them; the next `make up` goes by RAY_WORKER_REPLICAS in .env again")


def token(settings: Settings, arguments: Arguments) -> int:
    """Show the token that the dashboard asks for."""
    ensure_token(settings.ray_auth_token_path)
    print(settings.ray_auth_token_path.read_text().strip())
    print(f"Next: paste it at http://127.0.0.1:{settings.dashboard_port}; keep it to yourself", file=sys.stderr)
    return 0


VERBS: Final[tuple[Callable[[Settings, Arguments], int], ...]] = (
    up, down, clean, restart, bootstrap, verify, monitor, logs, ps, shell, scale, token,
)  # fmt: skip


ALONE: Final = frozenset({up, down, clean, restart, scale})  # those that start or stop something


@contextmanager
def alone(settings: Settings) -> Iterator[None]:
    """Nobody else starts or stops anything of this stack meanwhile."""
    LOCAL_DIR.mkdir(exist_ok=True)
    with (LOCAL_DIR / f"lock.{settings.compose_project_name}").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"waiting for another verb that is at work on the stack '{settings.compose_project_name}'")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def running(settings: Settings) -> StackRuntime:
    """The runtime, if the stack is up in it."""
    runtime = runtime_in_use(settings)
    if not runtime.is_up():
        raise StackError(
            f"the stack '{settings.compose_project_name}' is not up in the {runtime.name} runtime. `make up` starts it."
        )
    return runtime


def next_step(text: str) -> int:
    """Say what to do next; the exit code of success."""
    print(f"\nNext: {text}")
    return 0


def check_env_file() -> None:
    """Make sure that `.env` is there; Compose could not start without it."""
    if not (PROJECT_ROOT / ".env").is_file():
        raise SettingsError(f"{PROJECT_ROOT / '.env'} is missing, with all knobs. `git checkout .env` restores it.")


def parse(argv: list[str]) -> Arguments:
    """The verb and its arguments; what `verify` and `monitor` do not know here is handed on to them."""
    parser = argparse.ArgumentParser(prog="python -m scripts.stack", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    commands = {}
    for function in VERBS:
        commands[function.__name__] = verbs.add_parser(function.__name__, help=function.__doc__)
        commands[function.__name__].set_defaults(function=function)
    commands["clean"].add_argument("--yes", action="store_true", help="do not ask")
    commands["logs"].add_argument("service", nargs="?", choices=SERVICES, metavar="SERVICE", help=", ".join(SERVICES))
    commands["logs"].add_argument("--follow", choices=("0", "1"), help="1 goes on showing what comes, 0 does not")
    commands["scale"].add_argument("workers", help="number of ray-worker nodes")
    arguments, rest = parser.parse_known_args(argv)
    if rest and arguments.verb not in ("verify", "monitor"):
        parser.error(f"unknown arguments for {arguments.verb}: {' '.join(rest)}")
    arguments.rest = rest
    return arguments


def main(argv: list[str]) -> int:
    """Run one verb; whatever a user can cause ends with one message and no traceback."""
    arguments = parse(argv)
    if arguments.verb == "scale":
        os.environ["RAY_WORKER_REPLICAS"] = arguments.workers  # so that the knob's own check applies
    try:
        check_env_file()
        settings = load_settings()
        with alone(settings) if arguments.function in ALONE else nullcontext():
            code: int = arguments.function(settings, arguments)
    except SettingsError as error:
        print(f"\n{arguments.verb}: {error}", file=sys.stderr)
        return EXIT_BAD_SETTINGS
    except StackError as error:
        print(f"\n{arguments.verb} failed: {error}", file=sys.stderr)
        return EXIT_FAILED
    except BrokenPipeError:  # of `make ps | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for Python's own flush at the end
        return EXIT_FAILED
    except KeyboardInterrupt:
        print(
            f"\n{arguments.verb}: interrupted. `make up` goes on, `make down` stops what runs, `make ps` shows it.",
            file=sys.stderr,
        )
        return EXIT_INTERRUPTED
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
