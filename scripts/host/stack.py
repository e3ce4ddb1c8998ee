"""The verbs of the stack, in both runtimes; `make VERB` calls `python -m scripts.host.stack VERB`."""

import argparse
import fcntl
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from scripts.host.choose_runtime import runtime_in_use, runtime_to_start
from scripts.host.doctor import diagnose
from scripts.host.remedies import explain_failures
from scripts.host.runtime import API, HEAD, LOCAL_DIR, PROMETHEUS, SERVICES, StackError, StackRuntime, relative
from scripts.host.support_bundle import new_name, write_bundle
from scripts.host.token_file import ensure_token, replace_token
from seedcore.settings import PROJECT_ROOT, AuthMode, Runtime, Settings, SettingsError, load_settings

BACKUPS: Final = PROJECT_ROOT / "backups"
EXIT_FAILED: Final = 1
EXIT_BAD_SETTINGS: Final = 2
EXIT_INTERRUPTED: Final = 130

Arguments = argparse.Namespace
Verb = Callable[[Settings, Arguments], int]


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
    if settings.has_prometheus:
        is_there = choice.runtime.name == Runtime.DOCKER.value
        where = f"http://127.0.0.1:{settings.prometheus_port}" if is_there else "not started: it runs on Docker only"
        print(f"  Prometheus {where}")
    return next_step("`make verify` proves that it works, `make monitor` shows the actors, `make down` stops it")


def down(settings: Settings, arguments: Arguments) -> int:
    """Stop the stack; the items stay."""
    runtime_in_use(settings).down(remove_state=False)
    return next_step("the items are kept: `make up` starts again with them, `make clean` deletes them")


def clean(settings: Settings, arguments: Arguments) -> int:
    """Stop the stack and delete all items, after asking."""
    runtime = runtime_in_use(settings)
    confirm(
        f"Delete all items of the stack '{settings.compose_project_name}'?",
        "`make clean` deletes all items, and there is nobody to ask. `make clean YES=1` means it.",
        arguments,
    )
    runtime.down(remove_state=True)
    return next_step("everything is deleted: `make up` starts with an empty memory")


class NotConfirmedError(Exception):
    """Raised when the user is asked and does not say yes."""


def confirm(question: str, nobody_to_ask: str, arguments: Arguments) -> None:
    """Go on only if the user says yes, now or by YES=1.

    Raises:
        NotConfirmedError: the user does not.
        StackError: there is no terminal to ask on; says `nobody_to_ask`.
    """
    if arguments.yes:
        return
    if not sys.stdin.isatty():
        raise StackError(nobody_to_ask)
    if input(f"{question} [y/N] ").strip().lower() not in ("y", "yes"):
        raise NotConfirmedError


def restart(settings: Settings, arguments: Arguments) -> int:
    """Restart seedcore-api with the code on disk, wait until it is ready."""
    runtime = running(settings)
    began = time.monotonic()
    runtime.restart_api()
    print(f"{API} is ready after {time.monotonic() - began:.1f} s")
    return next_step("`make verify`; the actors were not restarted and remember everything")


def reload_actors(settings: Settings, arguments: Arguments) -> int:
    """Restart the singletons that run older code than is on the disk."""
    if running(settings).run_module(HEAD, "scripts.reload_actors", arguments.rest):
        raise StackError("see above. `make monitor` shows what runs now.")
    return next_step("`make monitor` shows which code each actor runs")


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


def doctor(settings: Settings, arguments: Arguments) -> int:
    """Look for what keeps the stack from working."""
    if not diagnose(settings, as_json=arguments.json):
        print("\nNext: do what the ❌ lines say, then `make doctor` again", file=sys.stderr)
        return EXIT_FAILED
    print("\nNext: `make verify` proves that a running stack works", file=sys.stderr)
    return 0


def support_bundle(settings: Settings, arguments: Arguments) -> int:
    """Gather what somebody else needs to help, without secrets."""
    try:
        file = new_name(settings)
        names = write_bundle(settings, file)
    except OSError as error:
        raise StackError(f"cannot write the bundle: {error}. The checkout must be yours; see `ls -ld`.") from error
    print(f"{len(names)} files, without Ray's token, are in {relative(file)}, {file.stat().st_size} bytes")
    return next_step(f"look through it before you send it: `tar --list --file {relative(file)}`")


def backup(settings: Settings, arguments: Arguments) -> int:
    """Copy all items into a file, while the stack runs or not."""
    runtime = runtime_in_use(settings)
    name = f"{settings.compose_project_name}-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.tar"
    file = Path(arguments.file) if arguments.file else BACKUPS / name
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        unfinished = file.with_name(f"{file.name}.unfinished")
        with unfinished.open("wb") as output, Path(os.devnull).open("rb") as nothing:
            code = runtime.run_with_state("scripts.store_archive", ["export"], stdin=nothing, stdout=output)
        if code:
            unfinished.unlink()
            raise StackError("no backup was made, as it says above.")
        unfinished.rename(file)
    except OSError as error:
        raise StackError(f"cannot write {file}: {error.strerror}. `make backup FILE=PATH` goes elsewhere.") from error
    print(f"all items are in {relative(file)}, {file.stat().st_size} bytes")
    return next_step(f"`make restore FILE={relative(file)}` brings them back")


def restore(settings: Settings, arguments: Arguments) -> int:
    """Replace all items by those of a backup, after asking."""
    file = Path(arguments.file) if arguments.file else _newest_backup(settings)
    if not file.is_file():
        raise StackError(f"there is no file {file}. `ls {relative(BACKUPS)}` shows the backups.")
    runtime = runtime_in_use(settings)
    confirm(
        f"Replace all items of the stack '{settings.compose_project_name}' by those in {relative(file)}?",
        "`make restore` replaces all items, and there is nobody to ask. `make restore YES=1` means it.",
        arguments,
    )
    with file.open("rb") as archive:
        code = runtime.run_with_state("scripts.store_archive", ["import"], stdin=archive, stdout=sys.stdout.buffer)
    if code:
        raise StackError("what was not replaced, as it says above, is as it was.")
    # An actor reads its store's file until it is told to open it anew.
    if runtime.is_up() and runtime.run_module(HEAD, "scripts.reload_actors", ["--all"]):
        raise StackError("the items are restored, but the actors were not restarted: `make down`, then `make up`.")
    print("the items that were there before are set aside in the state folder, as *.before-restore-*")
    return next_step("`make monitor` shows how many items there are now")


def _newest_backup(settings: Settings) -> Path:
    backups = sorted(BACKUPS.glob(f"{settings.compose_project_name}-*.tar"))
    if not backups:
        raise StackError(f"there is no backup in {relative(BACKUPS)}. `make restore FILE=PATH` takes any.")
    return backups[-1]


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
    failures = runtime.failures()
    if failures:
        print(f"\n{explain_failures(failures)}")
        return code
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


def rotate_token(settings: Settings, arguments: Arguments) -> int:
    """Replace Ray's token, and bring a running stack back with it."""
    if settings.ray_auth_mode is not AuthMode.TOKEN:
        raise StackError(f"RAY_AUTH_MODE={settings.ray_auth_mode.value}: there is no token in use. See .env.")
    runtime = runtime_in_use(settings)
    was_up = runtime.is_up()
    replace_token(settings.ray_auth_token_path)
    print(f"there is a new token in {relative(settings.ray_auth_token_path)}")
    if not was_up:
        return next_step("the stack is down: `make up` starts it with the new token")
    began = time.monotonic()
    runtime.up()  # sees that the services have another token, and starts afresh
    print(f"\nThe stack is up with it after {time.monotonic() - began:.1f} s, and the old token is refused")
    return next_step("the items are kept; the dashboard asks for the new token, which `make token` shows")


def verb_of(function: Verb) -> str:
    """What a user types for it."""
    return function.__name__.replace("_", "-")


VERBS: Final[tuple[Verb, ...]] = (
    up, down, clean, restart, reload_actors, bootstrap, verify, monitor, doctor, support_bundle, backup, restore, logs,
    ps, shell, scale, token, rotate_token,
)  # fmt: skip


PASS_ON: Final = frozenset(map(verb_of, (verify, monitor, reload_actors)))  # their arguments, to what they run
ALONE: Final = frozenset(
    {up, down, clean, restart, reload_actors, restore, scale, rotate_token}
)  # those that start or stop something


@contextmanager
def alone(settings: Settings) -> Iterator[None]:
    """Nobody else starts or stops anything of this stack meanwhile."""
    path = LOCAL_DIR / f"lock.{settings.compose_project_name}"
    try:
        LOCAL_DIR.mkdir(exist_ok=True)
        opened = path.open("w")
    except OSError as error:
        raise StackError(f"cannot write {path}: {error.strerror}. The checkout must be yours; see `ls -ld`.") from error
    with opened as lock:
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
    """The verb and its arguments; what those of `PASS_ON` do not know here is handed on."""
    parser = argparse.ArgumentParser(prog="python -m scripts.host.stack", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    commands = {}
    for function in VERBS:
        verb = verb_of(function)
        commands[verb] = verbs.add_parser(verb, help=function.__doc__)
        commands[verb].set_defaults(function=function)
    for verb in ("clean", "restore"):
        commands[verb].add_argument("--yes", action="store_true", help="do not ask")
    for verb in ("backup", "restore"):
        commands[verb].add_argument("file", nargs="?", help=f"the tar file; by default below {relative(BACKUPS)}")
    commands["doctor"].add_argument("--json", action="store_true", help="a JSON object for each line")
    services = (*SERVICES, PROMETHEUS)
    commands["logs"].add_argument("service", nargs="?", choices=services, metavar="SERVICE", help=", ".join(services))
    commands["logs"].add_argument("--follow", choices=("0", "1"), help="1 goes on showing what comes, 0 does not")
    commands["scale"].add_argument("workers", help="number of ray-worker nodes")
    arguments, rest = parser.parse_known_args(argv)
    if rest and arguments.verb not in PASS_ON:
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
    except NotConfirmedError:
        print("nothing was changed")
        return 0
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
