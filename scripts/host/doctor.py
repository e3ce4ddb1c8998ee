"""Looks for what keeps the stack from working: one line for each check, with the remedy beside what it finds."""

import json
from collections.abc import Iterable, Iterator
from typing import Final

from packaging.utils import canonicalize_name

from scripts.checks import Check, CheckError, Result, report, run_check
from scripts.host.choose_runtime import make_runtime, runtime_in_use
from scripts.host.docker_engine import NoEngineError
from scripts.host.doctor_of_machine import DoctorOfMachine
from scripts.host.locks import LOCKS
from scripts.host.ports import LOOPBACK
from scripts.host.remedies import remedy_for
from scripts.host.runtime import API, BOOTSTRAP, PLACES, WORKER, ServiceFailure, StackError, StackRuntime, captured
from scripts.host.settings import HostSettings, load_host_settings, set_knobs
from scripts.run_module import EXIT_BROKEN
from seedcore.settings import PROJECT_ROOT, LogLevel, SettingsError

BOOTSTRAPPED: Final = "Bootstrapped actors"
TELLING: Final = (LogLevel.DEBUG, LogLevel.INFO)  # with which bootstrap says what it did
LIST_PACKAGES: Final = "scripts.list_packages"
OF_CLUSTER: Final = "scripts.doctor_of_cluster"


def results(settings: HostSettings) -> Iterator[Result]:
    """What comes of each check, as it ends: of this machine, then of the running stack, if it is up."""
    try:
        runtime = _runtime(settings)
    except StackError as error:
        yield Result("which stack this is", False, str(error), 0.0)
        return
    is_up = runtime is not None and runtime.is_up()
    for check in DoctorOfMachine(settings, runtime, is_up=is_up).checks():
        yield run_check(check)
    if runtime is None:  # the check of Docker has said why
        return
    if not is_up:
        yield Result("the stack", None, "it is down; `make up` starts it, and doctor then looks into it", 0.0)
        return
    for check in _stack(settings, runtime):
        yield run_check(check)
    code, packages = captured(lambda output: runtime.run_module(_driver(settings), LIST_PACKAGES, [], stdout=output))
    if code == EXIT_BROKEN:
        told = "it cannot be used, as it says above, so the cluster was not looked into"
        yield Result("the code on the disk", False, told, 0.0)
    else:
        yield run_check(
            Check("the services have the packages of the lock file", lambda: _packages(settings, code, packages))
        )
    if settings.profiling:
        told = "PROFILING=1: whoever has Ray's token can see and record what the processes of the stack do"
        yield Result("profilers", None, told, 0.0)
    if runtime.is_debugged():
        told = f"it is on: whoever reaches {LOOPBACK}:{settings.debug_port} can run code. `make debug OFF=1` ends it"
        yield Result("the debugger", None, told, 0.0)
    if code != EXIT_BROKEN:
        yield from _of_cluster(settings, runtime)


def _runtime(settings: HostSettings) -> StackRuntime | None:
    try:
        return runtime_in_use(settings)
    except NoEngineError:
        return None


def _stack(settings: HostSettings, runtime: StackRuntime) -> list[Check]:
    failures = runtime.failures()
    bootstrap = Check("bootstrap's last run", lambda: bootstrap_run(settings, failures, runtime))
    return [
        Check("every service is well", lambda: _services(failures, runtime)),
        *([] if settings.cluster_head else [bootstrap]),
        Check("the services run with the settings of .env", lambda: _drift(settings, runtime)),
    ]


def _services(failures: list[ServiceFailure], runtime: StackRuntime) -> str:
    _refuse([failure for failure in failures if failure.service != BOOTSTRAP])
    return PLACES[runtime.name]


def bootstrap_run(settings: HostSettings, failures: list[ServiceFailure], runtime: StackRuntime) -> str:
    """What bootstrap did at its last start.

    Raises:
        CheckError: it failed, or was never done.
    """
    _refuse([failure for failure in failures if failure.service == BOOTSTRAP])
    _, log = captured(lambda output: runtime.save_logs(BOOTSTRAP, output))
    runs = [line.partition(BOOTSTRAPPED) for line in log.decode(errors="replace").splitlines() if BOOTSTRAPPED in line]
    if not runs and settings.log_level not in TELLING:
        return "it ended well"
    if not runs:
        raise CheckError("it never came to its end. `make logs S=bootstrap`, then `make bootstrap`.")
    return "".join(runs[-1][1:])


def _refuse(failures: list[ServiceFailure]) -> None:
    if failures:
        raise CheckError("; ".join(f"{failure.service} {failure.state}: {remedy_for(failure)}" for failure in failures))


def _drift(settings: HostSettings, runtime: StackRuntime) -> str:
    try:
        now = load_host_settings().model_copy(update=_of_join(settings))
    except SettingsError as error:
        raise CheckError(f"{error} The stack goes on with those that it was started with.") from error
    was, is_now = set_knobs(settings), set_knobs(now)
    different = [
        f"{name} was {was.get(name, '(default)') or '(empty)'} and is now {is_now.get(name, '(default)') or '(empty)'}"
        for name in sorted((was | is_now).keys() - {"RUNTIME"})  # `make up` leaves a stack where it is
        if was.get(name) != is_now.get(name)
    ]
    try:
        changed = make_runtime(runtime.name, now).outdated_services()
    except StackError as error:
        raise CheckError(str(error)) from error
    if different or changed:
        what = (
            "; ".join(different) or "the token, the image, a variable of your own or a file of Compose is another now"
        )
        verb = f"make join HEAD={settings.cluster_head}" if settings.cluster_head else "make up"
        raise CheckError(f"older settings in {', '.join(changed) or 'the stack'}: {what}. `{verb}` applies it.")
    return "the same"


def _of_join(settings: HostSettings) -> dict[str, str]:
    """What `make join` was told, and no file says."""
    if not settings.cluster_head:
        return {}
    return {"cluster_head": settings.cluster_head, "cluster_address": settings.cluster_address}


def _driver(settings: HostSettings) -> str:
    """The service in whose place the cluster is looked at from this machine."""
    return WORKER if settings.cluster_head else API


def _packages(settings: HostSettings, code: int, printed: bytes) -> str:
    if code:
        raise CheckError(f"they cannot be listed, see above. `make logs S={_driver(settings)}`.")
    installed = {str(canonicalize_name(name)): version for name, version in json.loads(printed).items()}
    pinned = _pinned(line for lock in LOCKS for line in _lines(lock))
    different = [
        f"{name} {installed[name]} instead of {' or '.join(versions)}"
        for name, versions in pinned.items()
        if name in installed and installed[name] not in versions
    ]
    on_every_platform = _pinned(line for lock in LOCKS for line in _lines(lock) if ";" not in line)
    different += [f"{name} is missing" for name in sorted(set(on_every_platform) - set(installed))]
    if different:
        raise CheckError(f"{'; '.join(different)}. `make down`, then `make up` builds the image anew.")
    return f"Ray {installed['ray']} and {len(set(pinned) & set(installed)) - 1} others"


def _lines(lock: str) -> list[str]:
    path = PROJECT_ROOT / lock
    return path.read_text().splitlines() if path.exists() else []


def _pinned(lines: Iterable[str]) -> dict[str, list[str]]:
    """Versions by name; one package may have two, for two platforms."""
    versions: dict[str, list[str]] = {}
    for line in lines:
        name, is_pinned, rest = line.partition("==")
        if is_pinned and not line.startswith(" "):
            versions.setdefault(canonicalize_name(name.partition("[")[0]), []).append(rest.split()[0])
    return versions


def _of_cluster(settings: HostSettings, runtime: StackRuntime) -> Iterator[Result]:
    """The checks of the cluster, which run inside of it."""
    code, printed = captured(lambda output: runtime.run_module(_driver(settings), OF_CLUSTER, [], stdout=output))
    lines = printed.decode(errors="replace").splitlines()
    found = [Result(**json.loads(line)) for line in lines if line.startswith("{")]
    if code and not any(result.holds is False for result in found):
        said = " ".join(line for line in lines if not line.startswith("{")) or "see above"
        yield Result("the cluster", False, f"it cannot be looked into: {said}. `make logs`.", 0.0)
    yield from found


def diagnose(settings: HostSettings, *, as_json: bool) -> bool:
    """Print a line for each check; whether all hold."""
    return report(results(settings), as_json=as_json)
