"""Builds the image: shows each step, keeps the whole output in a file, and says why a build failed."""

import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Mapping
from typing import Final

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Column

from scripts.host import package_index
from scripts.host.docker_engine import name_of_context
from scripts.host.package_index import PipConfigurationError, for_build, is_on_loopback, read_options, remedy_for
from scripts.host.runtime import LOCAL_DIR, StackError, relative
from seedcore.settings import PROJECT_ROOT

LOG: Final = LOCAL_DIR / "log" / "build.log"
HOST_NETWORK_FILE: Final = "images/host_network.yaml"
LINES_SHOWN: Final = 20  # of the step that failed
WORTH_A_LINE_S: Final = 1.0  # what took less is shown only while it runs
NAME_WIDTH: Final = 60  # characters of a step's command

# BuildKit's plain output: `#7 [seedcore-api uv 2/4] RUN ...`, `#7 1.234 what it prints`, `#7 DONE 5.6s`.
BEGIN: Final = re.compile(r"#(\d+) (?:\[(?:\S+ )?(\S+ +\d+/\d+)\] (.*)|(?:\[\S+\] )?(exporting) to .*)")
OUTPUT: Final = re.compile(r"#(\d+) \d+\.\d+ (.*)")
DONE: Final = re.compile(r"#(\d+) DONE (\d+\.\d+)s")
ERROR: Final = re.compile(r"#(\d+) ERROR: (.*)")
DETAILS: Final = re.compile(r"--mount=\S+|\b[A-Z_]+=\S+")  # of a command, that nobody wants to read

# What to do about a build that failed, the first pattern that is found wins.
REMEDIES: Final = (
    (
        r"exec format error",
        "BASE_IMAGE is for another kind of processor than this machine has: take one for this machine, or unset "
        "DOCKER_DEFAULT_PLATFORM",
    ),
    (r"\(BASE_IMAGE\) needs|/bin/sh.*no such file", "set BASE_IMAGE to another image, or add to it what it lacks"),
    *package_index.REMEDIES,
)


class Steps:
    """Reads what BuildKit prints; what it prints last of a step that failed is its reason."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}
        self._output: defaultdict[str, list[str]] = defaultdict(list)
        self._others: list[str] = []  # lines of no step: of Compose, and BuildKit's summary
        self._failed: str | None = None
        self.latest = ""  # the step that said something last, and what

    def read(self, line: str) -> str | None:
        """Take a line; if it ends a step that took a while, what to show of it."""
        if match := BEGIN.match(line):
            self._names[match[1]] = self.latest = match[4] or f"{_short(match[2])}: {_short(match[3])}"
        elif match := OUTPUT.match(line):
            self._output[match[1]].append(match[2])
            self.latest = f"{self._names.get(match[1], '')}  {match[2]}"
        elif match := ERROR.match(line):
            self._output[match[1]].append(match[2])
            self._failed = match[1]
        elif match := DONE.match(line):
            if match[1] in self._names and float(match[2]) >= WORTH_A_LINE_S:
                return f"{float(match[2]):6.1f} s  {self._names[match[1]]}"
        elif line.strip() and not line.startswith("#"):
            self._others.append(line.rstrip())
        return None

    def explain(self) -> str:
        """Why the build failed, and what to do about it."""
        if self._failed is None:
            where, said = "", self._others
        else:
            where, said = f" at {self._names.get(self._failed, 'a step')}", self._output[self._failed]
        lines = "\n".join(f"  | {line}" for line in said[-LINES_SHOWN:])
        text = "\n".join([*said, *self._others])
        known = remedy_for(text, REMEDIES)
        remedy = f"\nWhat to do: {known}." if known else ""
        return f"building the image failed{where}:\n{lines}{remedy}\nThe whole output is in {relative(LOG)}"


def build_image(environment: Mapping[str, str]) -> None:
    """Build what compose.yaml has to build.

    Args:
        environment: that of Compose, with COMPOSE_FILE.

    Raises:
        StackError: a step failed.
    """
    LOG.parent.mkdir(parents=True, exist_ok=True)
    print(f"building the image; the whole output is in {relative(LOG)}", flush=True)
    console, steps = Console(highlight=False), Steps()
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True, ratio=1)),
        TimeElapsedColumn(),
    )
    with (
        LOG.open("w") as log,
        Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress,
        subprocess.Popen(
            ["docker", "compose", "--progress=plain", "build"],
            cwd=PROJECT_ROOT,
            env={**environment, **_environment_of_build(environment)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        ) as build,
    ):
        task = progress.add_task("")
        for line in build.stdout or ():
            log.write(line)
            ended = steps.read(line)
            if ended:
                console.print(ended, markup=False, soft_wrap=True)
            progress.update(task, description=steps.latest)
    if build.returncode:
        raise StackError(steps.explain())


def _environment_of_build(environment: Mapping[str, str]) -> dict[str, str]:
    try:
        options = read_options([sys.executable, "-I", "-m", "pip"])
    except PipConfigurationError as error:
        raise StackError(str(error)) from error
    network = f":{HOST_NETWORK_FILE}" if is_on_loopback(options, environment) else ""
    return {
        "BUILD_PIP_CONF": for_build(options),
        "COMPOSE_FILE": environment["COMPOSE_FILE"] + network,
        # The engine's own builder, whichever your shell has chosen: another one does not know the engine's images.
        "DOCKER_BUILDKIT": "1",
        "BUILDX_BUILDER": name_of_context(),
    }


def _short(command: str) -> str:
    words = " ".join(DETAILS.sub("", command).split())
    return words if len(words) <= NAME_WIDTH else f"{words[:NAME_WIDTH]}..."
