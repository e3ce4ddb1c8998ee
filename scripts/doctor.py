"""Looks for what keeps the stack from working: one line for each check, with the remedy beside what it finds."""

import difflib
import json
import os
import shutil
import urllib.request
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Final, TypeVar

import psutil
from dotenv import dotenv_values
from packaging.utils import canonicalize_name

from scripts.ca_certificates import read_extra_ca_certificates
from scripts.checks import Check, CheckError, DoesNotApplyError, Result, report, run_check
from scripts.choose_runtime import runtime_in_use
from scripts.docker_engine import compose_version, connect_to_engine
from scripts.remedies import remedy_for
from scripts.runtime import API, StackError, StackRuntime, captured, relative
from scripts.token_file import check_token
from seedcore.settings import PROJECT_ROOT, AuthMode, Runtime, Settings

T = TypeVar("T")

MIN_CPUS: Final = 2
MIN_MEMORY_BYTES: Final = 2 * 2**30  # the idle stack takes half of it
MIN_DISK_BYTES: Final = 3 * 2**30  # the image, its layers and the virtual environment
CODE: Final = ("seedcore", "scripts", "images")
SCRIPTS: Final = ("images/*.sh", "scripts/*.sh", ".ci/run", ".env")
LOCK: Final = "requirements.lock"
LIST_PACKAGES: Final = "scripts.list_packages"
INSIDE: Final = "scripts.doctor_inside"


class Doctor:
    """The checks, of this machine and then of the running stack.

    Args:
        settings: of the stack.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def results(self) -> Iterator[Result]:
        """What comes of each check, as it ends; those inside of the stack only while it is up."""
        for check in self._machine():
            yield run_check(check)
        runtime = self._runtime
        if runtime is None:  # the check of Docker has said why
            return
        if not self._is_up:
            yield Result("the stack", None, "it is down; `make up` starts it, and doctor then looks into it", 0.0)
            return
        for check in self._stack(runtime):
            yield run_check(check)
        yield from _inside(runtime)

    def _machine(self) -> list[Check]:
        return [
            Check(".env has every knob, and no other", self.env_file),
            Check("scripts have Unix line endings", self.line_endings),
            Check("Docker", self.docker),
            Check("CPUs and memory", self.machine),
            Check("disk", self.disk),
            Check("files are readable for the containers", self.readable),
            Check("Ray's token", self.token),
            Check("certificate authorities", self.certificates),
            Check("proxy", self.proxy),
            Check("ports", self.ports),
        ]

    def env_file(self) -> str:
        """Nothing is missing or misspelt in `.env`."""
        wanted = {name.upper() for name in Settings.model_fields}
        found = set(dotenv_values(PROJECT_ROOT / ".env"))
        problems = [f"{name} is missing" for name in sorted(wanted - found)]
        for name in sorted(found - wanted):
            close = difflib.get_close_matches(name, wanted, 1)
            problems.append(f"{name} is no knob" + (f"; is {close[0]} meant?" if close else ""))
        if problems:
            raise CheckError(f"correct .env, or `git checkout .env`: {'; '.join(problems)}")
        over = sorted(name for name in wanted if name in os.environ)
        return f"{len(wanted)} knobs" + (f"; your shell sets {', '.join(over)}" if over else "")

    def line_endings(self) -> str:
        """Scripts that a container runs have no carriage returns."""
        files = [path for pattern in SCRIPTS for path in PROJECT_ROOT.glob(pattern)]
        wrong = [str(relative(path)) for path in files if b"\r\n" in path.read_bytes()]
        if wrong:
            raise CheckError(
                f"{', '.join(wrong)} has Windows line endings, which bash does not take. "
                "`git config core.autocrlf input`, then `git rm -r --cached . && git reset --hard` writes them anew."
            )
        return f"{len(files)} files"

    def docker(self) -> str:
        """Engine and Compose, or the embedded runtime in their place."""
        if self._settings.runtime is Runtime.LOCAL:
            raise DoesNotApplyError("RUNTIME=local")
        try:
            client = connect_to_engine()
        except StackError as error:
            if self._settings.runtime is Runtime.DOCKER:
                raise CheckError(str(error)) from error
            raise DoesNotApplyError(f"{error} Until then `make up` runs without Docker.") from error
        return f"engine {client.version()['Version']}, Compose {compose_version()}"

    def machine(self) -> str:
        """Enough for the stack."""
        cpus, memory = os.cpu_count() or 1, psutil.virtual_memory()
        facts = f"{cpus} CPUs, {_gib(memory.available)} of {_gib(memory.total)} free"
        if memory.available < MIN_MEMORY_BYTES and not self._is_up:
            raise CheckError(f"{facts}; the stack needs {_gib(MIN_MEMORY_BYTES)}. Stop something, or add memory.")
        if cpus < MIN_CPUS:
            raise CheckError(f"{facts}; the stack needs {MIN_CPUS} CPUs.")
        return facts

    def disk(self) -> str:
        """Room for image and items."""
        free = shutil.disk_usage(PROJECT_ROOT).free
        if free < MIN_DISK_BYTES:
            raise CheckError(
                f"{_gib(free)} free, {_gib(MIN_DISK_BYTES)} are needed. "
                "`docker system df` shows what Docker holds, `docker image prune` frees images without a name."
            )
        return f"{_gib(free)} free"

    def readable(self) -> str:
        """The containers' user is somebody else, and must be able to read the mounted code."""
        paths = [path for folder in CODE for path in (PROJECT_ROOT / folder).rglob("*") if path.name != "__pycache__"]
        needed = {True: 0o005, False: 0o004}
        closed = [path for path in paths if path.stat().st_mode & needed[path.is_dir()] != needed[path.is_dir()]]
        if closed:
            raise CheckError(
                f"{len(closed)} files, such as {relative(closed[0])}, cannot be read by the containers' user (1000). "
                f"`chmod -R a+rX {' '.join(CODE)}`."
            )
        return f"{len(paths)} files"

    def token(self) -> str:
        """There is one that no other user can read, or will be."""
        if self._settings.ray_auth_mode is AuthMode.DISABLED:
            raise CheckError("RAY_AUTH_MODE=disabled: whoever reaches Ray can run code. Set it to token in .env.")
        path = self._settings.ray_auth_token_path
        if not os.path.lexists(path):
            raise DoesNotApplyError(f"{relative(path)} is not there yet; `make up` makes it")
        _explained(lambda: check_token(path))
        return str(relative(path))

    def certificates(self) -> str:
        """Those that `EXTRA_CA_CERTS` names can be read."""
        found = _explained(lambda: read_extra_ca_certificates(self._settings.extra_ca_certs))
        if found is None:
            raise DoesNotApplyError("no extra ones: neither EXTRA_CA_CERTS nor SSL_CERT_FILE is set")
        return found.source

    def proxy(self) -> str:
        """Calls of this machine do not go through it."""
        proxies = {name: url for name, url in urllib.request.getproxies().items() if name in ("http", "https", "all")}
        if not proxies:
            raise DoesNotApplyError("none is set")
        if not urllib.request.proxy_bypass("127.0.0.1"):
            raise CheckError(
                f"{', '.join(sorted(proxies))} calls to 127.0.0.1 would go through the proxy. "
                "`export NO_PROXY=localhost,127.0.0.1`."
            )
        return f"for {', '.join(sorted(proxies))}, not for 127.0.0.1"

    def ports(self) -> str:
        """Free, while the stack is down."""
        if self._runtime is None:
            raise DoesNotApplyError("there is no runtime to ask")
        if self._is_up:
            raise DoesNotApplyError("the stack has them")
        _explained(self._runtime.check_ports)
        return f"API {self._settings.api_port} and dashboard {self._settings.dashboard_port} are free"

    @cached_property
    def _runtime(self) -> StackRuntime | None:
        """None if it is Docker, and that cannot be used."""
        try:
            return runtime_in_use(self._settings)
        except StackError:
            return None

    @cached_property
    def _is_up(self) -> bool:
        return self._runtime is not None and self._runtime.is_up()

    def _stack(self, runtime: StackRuntime) -> list[Check]:
        return [
            Check("every service is well", lambda: _services(runtime)),
            Check("the services run with the settings of .env", lambda: _drift(runtime)),
            Check("the services have the packages of the lock file", lambda: _packages(runtime)),
        ]


def _services(runtime: StackRuntime) -> str:
    failures = runtime.failures()
    if failures:
        raise CheckError("; ".join(f"{failure.service} {failure.state}: {remedy_for(failure)}" for failure in failures))
    return f"in the {runtime.name} runtime"


def _drift(runtime: StackRuntime) -> str:
    changed = runtime.outdated_services()
    if changed:
        raise CheckError(f"{', '.join(changed)} was started with others. `make up` applies those of now.")
    return "the same"


def _packages(runtime: StackRuntime) -> str:
    code, printed = captured(lambda output: runtime.run_module(API, LIST_PACKAGES, [], stdout=output))
    if code:
        raise CheckError("they cannot be listed, see above. `make logs S=seedcore-api`.")
    installed = {str(canonicalize_name(name)): version for name, version in json.loads(printed).items()}
    pinned = _pinned((PROJECT_ROOT / LOCK).read_text())
    different = [
        f"{name} {installed[name]} instead of {' or '.join(versions)}"
        for name, versions in pinned.items()
        if name in installed and installed[name] not in versions
    ]
    if different:
        raise CheckError(f"{'; '.join(different)}. `make down`, then `make up` builds the image anew.")
    return f"Ray {installed['ray']} and {len(set(pinned) & set(installed)) - 1} others"


def _pinned(lock: str) -> dict[str, list[str]]:
    """Versions by name; one package may have two, for two platforms."""
    versions: dict[str, list[str]] = {}
    for line in lock.splitlines():
        name, is_pinned, rest = line.partition("==")
        if is_pinned and not line.startswith(" "):
            versions.setdefault(canonicalize_name(name.partition("[")[0]), []).append(rest.split()[0])
    return versions


def _inside(runtime: StackRuntime) -> Iterator[Result]:
    """The checks of the cluster, which run inside of it."""
    code, printed = captured(lambda output: runtime.run_module(API, INSIDE, [], stdout=output))
    lines = printed.decode(errors="replace").splitlines()
    found = [Result(**json.loads(line)) for line in lines if line.startswith("{")]
    if code and not any(result.holds is False for result in found):
        said = " ".join(line for line in lines if not line.startswith("{"))
        yield Result("the cluster", False, f"it cannot be looked into: {said or 'see above'}. `make logs`.", 0.0)
    yield from found


def _explained(run: Callable[[], T]) -> T:
    try:
        return run()
    except StackError as error:
        raise CheckError(str(error)) from error


def _gib(number: int) -> str:
    return f"{number / 2**30:.1f} GiB"


def diagnose(settings: Settings, *, as_json: bool) -> bool:
    """Print a line for each check; whether all hold."""
    return report(Doctor(settings).results(), as_json=as_json)
