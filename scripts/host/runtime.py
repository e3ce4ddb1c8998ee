"""What the two runtimes have in common: the interface that the verbs work with, and how they fail."""

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final, Protocol, TypeVar

from scripts.run_module import EXIT_BROKEN
from seedcore.settings import PROJECT_ROOT

T = TypeVar("T")

HEAD: Final = "ray-head"
WORKER: Final = "ray-worker"
BOOTSTRAP: Final = "bootstrap"
WITHOUT_YOURS: Final = (
    "All else runs, the API as well. Correct what it says of your singletons, then `make bootstrap` creates them."
)
API: Final = "seedcore-api"
SERVICES: Final = (HEAD, WORKER, BOOTSTRAP, API)  # in the order of their start
VALKEY: Final = "valkey"  # beside them, with the profile of that name
PROMETHEUS: Final = "prometheus"  # beside them, on Docker, with the profile `observability`

API_HEALTH_PATH: Final = "/readyz"

LOCAL_DIR: Final = PROJECT_ROOT / ".local"
LOG_LINES_SHOWN: Final = 20  # of a service that failed
LOG_LINES: Final = 200  # of a service, before those that come
CLEAR_LINE: Final = "\x1b[2K"  # some versions of Compose begin each line with it, into a file as well
POLL_S: Final = 0.25  # between two looks at a condition that is waited for


# A runtime in words, by its name.
PLACES: Final = {"docker": "on Docker", "local": "without Docker (RUNTIME=local)"}


class StackError(Exception):
    """Raised when a verb cannot do its work; the message is all that the user sees, so it ends with a remedy."""


def captured(run: Callable[[IO[bytes]], T]) -> tuple[T, bytes]:
    """What something returns that writes to a file, and what it has written."""
    with tempfile.TemporaryFile() as output:
        result = run(output)
        output.seek(0)
        return result, output.read()


@dataclass(frozen=True)
class ServiceFailure:
    """Why a service did not come up."""

    service: str
    state: str  # in the runtime's words, such as `exited with code 1`
    log_lines: tuple[str, ...]


class StackRuntime(Protocol):
    """One way to run the stack."""

    name: str

    def prepare(self) -> None:
        """Have what a start needs."""

    def up(self, changes: Callable[[], None] = lambda: None) -> None:
        """Start what does not run, run bootstrap, return when all is healthy.

        Args:
            changes: called when the first service has changed.
        """

    def down(self, *, remove_state: bool) -> None:
        """Stop everything; the items stay unless `remove_state`."""

    def is_up(self) -> bool:
        """Whether any service of this stack runs."""

    def has_items(self) -> bool:
        """Whether there are items of this stack, be it up or down."""

    def engine(self) -> tuple[str, str]:
        """Where its Docker Engine answers, and which one it is; empty without Docker."""

    def services(self) -> tuple[str, ...]:
        """All services, the user's own as well."""

    def restart_api(self) -> None:
        """Restart seedcore-api and return when it is ready."""

    def debug(self, *, is_on: bool) -> None:
        """Restart seedcore-api with or without the debugger, and return when it is ready."""

    def is_debugged(self) -> bool:
        """Whether the debugger is on."""

    def debug_ray(self) -> int:
        """Run Ray's debugger on this terminal, where the tasks and actors are."""

    def bootstrap(self) -> int:
        """Run bootstrap again, show what it says, return its exit code."""

    def run_module(self, service: str, module: str, arguments: list[str], *, stdout: IO[bytes] | None = None) -> int:
        """Run `python -m module` in the environment of a service, on this terminal if there is one; return its exit
        code.
        """

    def require_free_ports(self) -> None:
        """Raise StackError unless all ports can be had, and the address of several machines is this one's."""

    def outdated_services(self) -> list[str]:
        """Services that were started with other settings than those of now."""

    def run_with_state(self, module: str, arguments: list[str], *, stdin: IO[bytes], stdout: IO[bytes] | None) -> int:
        """Run `python -m module` where the state folder is, whether the stack is up or not; return its exit code."""

    def logs(self, service: str | None, *, follow: bool, actor: str | None) -> int:
        """Show the logs of one service or all; of an actor, all that it said on them, in earlier lives too."""

    def save_logs(self, service: str, output: IO[bytes]) -> None:
        """Write all that there is of a service's log."""

    def ps(self, *, stdout: IO[bytes] | None = None) -> int:
        """Show the state of each service."""

    def failures(self) -> list[ServiceFailure]:
        """The services that are in trouble; those that are just starting are not."""

    def shell(self) -> int:
        """Open a shell in the environment of seedcore-api."""

    def scale(self, workers: int) -> None:
        """Run this many ray-worker nodes, return when they are healthy."""


def require_good_code(runtime: StackRuntime) -> None:
    """Refuse to touch what runs unless the code on the disk can be imported, with the settings and packages of now.

    Raises:
        StackError: it cannot.
    """
    with Path(os.devnull).open("rb") as nothing:
        code, _ = captured(
            lambda output: runtime.run_with_state(
                "scripts.run_module", ["scripts.try_api"], stdin=nothing, stdout=output
            )
        )
    if code == EXIT_BROKEN:
        raise StackError("what runs was left as it is. Correct what it says above, then do this again.")


def show_log(command: list[str], actor: str | None, environment: Mapping[str, str] | None = None) -> int:
    """Run a command that writes logs; of an actor, show only what it said, as scripts/worker_logs.py writes it.

    Raises:
        StackError: there is no line of the actor.
    """
    if actor is None and sys.stdout.isatty():
        return subprocess.run(command, cwd=PROJECT_ROOT, env=environment, check=False).returncode
    shown = re.compile("" if actor is None else _said_by(actor))
    has_said = False
    with subprocess.Popen(
        command, cwd=PROJECT_ROOT, env=environment, stdout=subprocess.PIPE, text=True, errors="replace"
    ) as process:
        for line in process.stdout or ():
            if shown.search(line):
                has_said = True
                print(line.removeprefix(CLEAR_LINE), end="", flush=True)
    if actor is not None and not has_said:
        raise StackError(
            f"no actor named '{actor}' has said anything. A= takes its name, not its class: `make monitor` has both."
        )
    return process.returncode


def _said_by(actor: str) -> str:
    return rf'(?:^|\| )\({re.escape(actor)} pid=\d+\) |"actor": {re.escape(json.dumps(actor))}[,}}]'


def is_api_ready(port: int) -> bool:
    """Whether the API answers that it is ready."""
    probe = ["images/healthcheck.sh", "127.0.0.1", str(port), API_HEALTH_PATH]
    return subprocess.run(probe, cwd=PROJECT_ROOT, check=False, capture_output=True).returncode == 0


def relative(path: Path) -> Path:
    """The path as seen from the project folder, for messages."""
    return path.relative_to(PROJECT_ROOT) if path.is_relative_to(PROJECT_ROOT) else path
