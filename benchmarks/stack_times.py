"""What people wait for: the start of the stack on Docker, saved code, a restart, a rebuild; and what it takes idle."""

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import docker
import httpx
import psutil
from rich.progress import Progress
from tenacity import Retrying, retry_if_result, stop_after_delay, wait_fixed

from benchmarks.measure import Timing
from benchmarks.peers import BARE_RAY
from benchmarks.works import SEEDCORE
from scripts.host.docker_runtime import PROJECT_LABEL, SERVICE_LABEL
from scripts.host.ports import LOOPBACK, free_port
from scripts.host.runtime import API, StackError
from seedcore import __version__
from seedcore.settings import PROJECT_ROOT
from tests.checkout import copy_checkout

PROJECT: Final = "seedcore-bench"
ROUNDS: Final = 3
POLL_S: Final = 0.02
DEADLINE_S: Final = 180.0
SETTLE_S: Final = 30.0  # after the start, before idle is idle
IDLE_S: Final = 20.0  # for which it is measured
START: Final = "start of the stack"
SAVE: Final = "saved code to live"
RESTART: Final = "restart of the API to ready"
RELOAD: Final = "all actors on new code"
STALL: Final = "longest wait of a request meanwhile"
REBUILD_CODE: Final = "image rebuilt after a change of the code"
REBUILD_LOCK: Final = "image rebuilt after a change of the dependencies"
MEMORY: Final = "idle memory of the stack, MiB"
BARE_MEMORY: Final = "idle memory of bare Ray on as many nodes, MiB"
CPU: Final = "idle CPU of the stack, % of a core"
BARE_CPU: Final = "idle CPU of bare Ray on as many nodes, % of a core"
NODES: Final = 3  # of the stack
IMAGE: Final = "image over its base, MB"
MAX_SHOWN: Final = 40  # characters of a program that stands on a command line


class Checkout:
    """A copy of this checkout with a stack of its own, whose files may be changed.

    Args:
        folder: where to copy to.
    """

    def __init__(self, folder: Path) -> None:
        copy_checkout(folder)
        self.folder = folder
        port = free_port()
        self.environment = {
            **os.environ,
            "COMPOSE_PROJECT_NAME": PROJECT,
            "SEEDCORE_IMAGE": f"{PROJECT}:dev",
            "RUNTIME": "docker",
            "API_PORT": str(port),
            "DASHBOARD_PORT": str(free_port()),
        }
        self.url = f"http://{LOOPBACK}:{port}"

    def run(self, *command: str) -> str:
        """The output of a command in the copy.

        Raises:
            StackError: it failed.
        """
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if done.returncode:
            raise StackError(f"`{' '.join(command)}` failed:\n{done.stdout}")
        return done.stdout

    def wait_until_ready(self) -> None:
        """Wait for 200 of `/readyz`."""
        _wait_until(lambda: self._status("/readyz") == httpx.codes.OK)

    def api_version(self) -> str:
        """What the API says that it is, in its OpenAPI description; empty while it does not answer."""
        try:
            return str(httpx.get(f"{self.url}/openapi.json").json()["info"]["version"])
        except httpx.TransportError:
            return ""

    def _status(self, path: str) -> int:
        try:
            return httpx.get(self.url + path).status_code
        except httpx.TransportError:
            return 0


def measure(progress: Progress) -> tuple[dict[str, dict[str, Timing]], dict[str, float]]:
    """Times of the works by system, and the figures that are no times.

    Raises:
        StackError: there is no engine, or the stack does not come up.
    """
    with _running() as checkout:
        task = progress.add_task("the stack on Docker", total=6)
        figures = {IMAGE: _image_mb(checkout)}
        figures[MEMORY], figures[CPU] = _idle(checkout.run("docker", "compose", "ps", "-q").split())
        progress.advance(task)
        works = {SAVE: {SEEDCORE: _timing(lambda: _save(checkout))}}
        works |= _reloads(checkout)
        progress.advance(task)
        works[RESTART] = _restarts(checkout)
        progress.advance(task)
        works[START] = _starts(checkout)
        progress.advance(task)
        works[REBUILD_CODE] = {SEEDCORE: _timing(lambda: _rebuild(checkout, "seedcore/errors.py"))}
        works[REBUILD_LOCK] = {SEEDCORE: Timing(1, [_rebuild(checkout, "requirements.lock")])}
        progress.advance(task)
        with _bare_ray(checkout, NODES) as bare:
            figures[BARE_MEMORY], figures[BARE_CPU] = _idle(bare.containers)
        progress.advance(task)
    return works, figures


@contextmanager
def _running() -> Iterator[Checkout]:
    """A stack that is up; nothing of it is left."""
    with tempfile.TemporaryDirectory() as name:
        checkout = Checkout(Path(name) / "checkout")
        try:
            checkout.run("make", "up")
            yield checkout
        finally:
            checkout.run("make", "clean", "YES=1")
            checkout.run("docker", "image", "rm", "--force", checkout.environment["SEEDCORE_IMAGE"])


def profile() -> tuple[list[tuple[str, str, float]], list[tuple[str, str, float]]]:
    """When each part of a start has come, in seconds after it began, and the MiB of each program of the idle stack;
    both of the stack and of bare Ray.

    Raises:
        StackError: as `measure`.
    """
    with _running() as checkout:
        checkout.run("make", "down")
        began = datetime.now(UTC)
        checkout.run("docker", "compose", "up", "--detach", "--no-build")
        checkout.wait_until_ready()
        time.sleep(SETTLE_S)
        moments: list[tuple[str, str, float]] = []
        memory: list[tuple[str, str, float]] = []
        for container in _containers():
            service = container.labels[SERVICE_LABEL]
            moments += [(SEEDCORE, f"{service} {what}", (at - began).total_seconds()) for what, at in _came(container)]
            memory += [(service, *row) for row in _programs([container])]
        checkout.run("make", "down")
        with _bare_ray(checkout, NODES) as bare:
            moments += [(BARE_RAY, "head", bare.head_s), (BARE_RAY, f"all {NODES} nodes", bare.all_s)]
            time.sleep(SETTLE_S)
            memory += [(BARE_RAY, *row) for row in _programs(map(docker.from_env().containers.get, bare.containers))]
    return sorted(moments, key=lambda moment: (moment[0] == BARE_RAY, moment[2])), memory


def _containers() -> list[Any]:
    label = f"{PROJECT_LABEL}={PROJECT}"
    return list(docker.from_env().containers.list(all=True, filters={"label": label}))


def _came(container: Any) -> Iterator[tuple[str, datetime]]:
    """When it started, and when it had done its part."""
    state = container.attrs["State"]
    yield "started", datetime.fromisoformat(state["StartedAt"])
    if not state["Running"]:
        yield "has ended well", datetime.fromisoformat(state["FinishedAt"])
    for look in state.get("Health", {}).get("Log", []):
        if look["ExitCode"] == 0:
            yield "is healthy", datetime.fromisoformat(look["End"])
            return


def _programs(containers: Iterable[Any]) -> list[tuple[str, float]]:
    """The MiB of all processes of a program in them, the largest first; what several share is shared among them.

    Raises:
        StackError: only root may know.
    """
    found: Counter[str] = Counter()
    running = [container for container in containers if container.status == "running"]
    for pid in (int(line[1]) for container in running for line in container.top()["Processes"]):
        with suppress(psutil.NoSuchProcess):
            process = psutil.Process(pid)
            try:
                found[_program(process.cmdline())] += process.memory_full_info().pss
            except psutil.AccessDenied as error:
                raise StackError("only root may know what memory the processes of containers have") from error
    return [(program, size / 2**20) for program, size in found.most_common()]


def _program(command: list[str]) -> str:
    """What a process runs: the script or module, where it is one of Python."""
    words = [Path(word).name for word in command if not word.startswith("-")]
    if not words or not words[0].startswith("python"):
        return next(iter(words), "")
    if "-c" in command:
        return f"-c {command[command.index('-c') + 1][:MAX_SHOWN]}"
    return next(iter(words[1:]), words[0])


def _timing(measure_once: Callable[[], float]) -> Timing:
    return Timing(1, [measure_once() for _ in range(ROUNDS)])


def _starts(checkout: Checkout) -> dict[str, Timing]:
    timings = {SEEDCORE: Timing(1), BARE_RAY: Timing(1)}
    for _ in range(ROUNDS):
        began = time.perf_counter()
        checkout.run("docker", "compose", "up", "--detach", "--no-build")
        checkout.wait_until_ready()
        timings[SEEDCORE].seconds.append(time.perf_counter() - began)
        checkout.run("make", "down")
        with _bare_ray(checkout, NODES) as bare:
            timings[BARE_RAY].seconds.append(bare.all_s)
    return timings


def _restarts(checkout: Checkout) -> dict[str, Timing]:
    timings = {SEEDCORE: Timing(1), BARE_RAY: Timing(1)}
    for _ in range(ROUNDS):
        began = time.perf_counter()
        checkout.run("docker", "compose", "restart", "--no-deps", API)
        checkout.wait_until_ready()
        timings[SEEDCORE].seconds.append(time.perf_counter() - began)
    checkout.run("make", "down")
    for _ in range(ROUNDS):
        with _bare_ray(checkout, 2) as bare:
            began = time.perf_counter()
            subprocess.run([sys.executable, "-c", "import seedcore.api.app"], cwd=PROJECT_ROOT, check=True)
            timings[BARE_RAY].seconds.append(bare.all_s - bare.head_s + time.perf_counter() - began)
    return timings


@dataclass(frozen=True)
class BareRay:
    """Some nodes of Ray's own on this machine.

    Args:
        head_s: seconds until the head had started.
        all_s: until all of them had.
        containers: ids, one for each node.
    """

    head_s: float
    all_s: float
    containers: list[str]


@contextmanager
def _bare_ray(checkout: Checkout, nodes: int) -> Iterator[BareRay]:
    """`ray start --head`, then `ray start --address` on all others at once, in containers of the stack's image."""
    client = docker.from_env()
    network = client.networks.create(f"{PROJECT}-bare")
    head = f"{network.name}-head"
    started: list[Any] = []

    def start(name: str, where: str) -> None:
        started.append(
            client.containers.run(
                checkout.environment["SEEDCORE_IMAGE"],
                # not --block, for which Python would stay
                ["-c", f"ray start {where} --disable-usage-stats --object-store-memory=100000000 && sleep infinity"],
                entrypoint="sh",
                name=name,
                network=network.name,
                environment={"RAY_AUTH_MODE": "disabled"},
                shm_size="1g",
                init=True,
                detach=True,
            )
        )

    try:
        began = time.perf_counter()
        start(head, "--head")
        _wait_until(lambda: _has_started(started[0]))
        head_s = time.perf_counter() - began
        for number in range(1, nodes):
            start(f"{network.name}-{number}", f"--address={head}:6379")
        _wait_until(lambda: all(map(_has_started, started)))
        yield BareRay(head_s, time.perf_counter() - began, [node.id for node in started])
    finally:
        for node in started:
            node.remove(force=True)
        network.remove()


def _has_started(node: Any) -> bool:
    return b"Ray runtime started" in node.logs()


def _save(checkout: Checkout) -> float:
    file = checkout.folder / "seedcore/api/app.py"
    before = file.read_text()
    version = f"{time.time_ns()}"
    began = time.perf_counter()
    file.write_text(before.replace("version=__version__", f'version="{version}"'))
    _wait_until(lambda: checkout.api_version() == version)
    took = time.perf_counter() - began
    file.write_text(before)
    _wait_until(lambda: checkout.api_version() == __version__)
    checkout.wait_until_ready()
    return took


def _reloads(checkout: Checkout) -> dict[str, dict[str, Timing]]:
    """`make reload-actors ARGS=--all`, while one client sets and gets an item through the API without a pause."""
    verb, waits = Timing(1), Timing(1)
    with ThreadPoolExecutor(1) as client:
        for _ in range(ROUNDS):
            is_done = threading.Event()
            longest = client.submit(_longest_wait, checkout.url, is_done)
            began = time.perf_counter()
            try:
                checkout.run("make", "reload-actors", "ARGS=--all")
                verb.seconds.append(time.perf_counter() - began)
            finally:
                is_done.set()
            waits.seconds.append(longest.result())
    return {RELOAD: {SEEDCORE: verb}, STALL: {SEEDCORE: waits}}


def _longest_wait(url: str, is_done: threading.Event) -> float:
    """Of any request until then.

    Raises:
        httpx.HTTPError: one failed.
    """
    longest = 0.0
    with httpx.Client(base_url=url, timeout=DEADLINE_S) as client:
        while not is_done.is_set():
            for method, body in (("PUT", {"value": time.time_ns()}), ("GET", None)):
                began = time.perf_counter()
                client.request(method, "/organs/bench/items/reload", json=body).raise_for_status()
                longest = max(longest, time.perf_counter() - began)
    return longest


def _rebuild(checkout: Checkout, changed: str) -> float:
    with (checkout.folder / changed).open("a") as file:
        file.write(f"# {time.time_ns()}\n")
    began = time.perf_counter()
    checkout.run("docker", "compose", "build")
    return time.perf_counter() - began


def _image_mb(checkout: Checkout) -> float:
    image = checkout.environment["SEEDCORE_IMAGE"]
    found = json.loads(checkout.run("docker", "image", "inspect", image))[0]
    base = found["Config"]["Labels"]["org.opencontainers.image.base.name"]
    checkout.environment["BASE_IMAGE"] = base  # for the builds that follow
    size = int(json.loads(checkout.run("docker", "image", "inspect", base))[0]["Size"])
    return float(found["Size"] - size) / 1e6


def _idle(containers: list[str]) -> tuple[float, float]:
    """Their MiB, and % of a core."""
    time.sleep(SETTLE_S)
    before = [_stats(container) for container in containers]
    time.sleep(IDLE_S)
    after = [_stats(container) for container in containers]
    return sum(map(_memory_mib, after)), sum(map(_cores, before, after)) * 100


def _stats(container: str) -> Any:
    return docker.from_env().containers.get(container).stats(stream=False)


def _cores(before: Any, after: Any) -> float:
    """Used between two readings, by their own clock: the engine takes a second or two for each."""
    used_s = (after["cpu_stats"]["cpu_usage"]["total_usage"] - before["cpu_stats"]["cpu_usage"]["total_usage"]) / 1e9
    return float(used_s / (_read_at(after) - _read_at(before)).total_seconds())


def _read_at(stats: Any) -> datetime:
    return datetime.fromisoformat(stats["read"])


def _memory_mib(stats: Any) -> float:
    """As `docker stats` counts it."""
    memory = stats["memory_stats"]
    return float(memory["usage"] - memory["stats"].get("inactive_file", 0)) / 2**20


def _wait_until(holds: Callable[[], bool]) -> None:
    Retrying(
        retry=retry_if_result(lambda result: not result), stop=stop_after_delay(DEADLINE_S), wait=wait_fixed(POLL_S)
    )(holds)
