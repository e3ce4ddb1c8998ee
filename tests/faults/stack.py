"""A stack on Docker that faults are injected into, and the node beside it that the load runs on."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import docker
import psutil
from docker.models.containers import Container

from seedcore.settings import PROJECT_ROOT
from tests.faults.small_disk import SmallDisk
from tests.stack.containers import kill_for_good, run_in
from tests.stack.project import Project
from tests.waiting import wait_until

HEAD: Final = "ray-head"
WORKER: Final = "ray-worker"
API: Final = "seedcore-api"
ENGINE: Final = "valkey"  # with --engine=valkey
SINGLETONS: Final = ("mw", "shared_cache", "miss_tracker")
CHECKPOINT: Final = "import sqlite3; sqlite3.connect({path!r}).execute('PRAGMA wal_checkpoint(TRUNCATE)')"
END_DEADLINE_S: Final = 120.0  # until all items were looked at
STATE: Final = "/state/seedcore-dev"  # in the workers
JOURNALS: Final = "/journals"  # in the load's container
# The node of the load: no CPUs, so that no work runs there. What it runs is no part of the product.
LOAD_NODE: Final = (
    'exec ray start --block --address="$RAY_ADDRESS" --num-cpus=0 --object-store-memory=100000000 '
    "--disable-usage-stats --include-log-monitor=false"
)


class FaultStack:
    """A running project on Docker, with what hurts it.

    Args:
        project: is up, on Docker.
        engine: the one that it runs on.
        journals: folder on this machine for what the load writes down.
        disk: that the state volume is on.
    """

    def __init__(self, project: Project, engine: docker.DockerClient, journals: Path, disk: SmallDisk) -> None:
        self.project = project
        self.disk = disk
        self._engine = engine
        self.journals = journals
        self.journals.chmod(0o777)  # the container's user is somebody else
        self.load_node = self._start_load_node()

    # What there is

    def containers(self, service: str) -> list[Container]:
        """The service's containers, in the order of their names."""
        labels = [f"com.docker.compose.project={self.project.name}", f"com.docker.compose.service={service}"]
        found = self._engine.containers.list(all=True, ignore_removed=True, filters={"label": labels})
        return sorted(found, key=lambda container: str(container.name))

    def container(self, service: str) -> Container:
        """The service's only container."""
        (container,) = self.containers(service)
        return container

    def actor(self, name: str) -> dict[str, Any]:
        """What `/actors` says of a singleton."""
        answer = self.project.api.get("/actors").json()
        return next(actor for actor in answer["actors"] if actor["name"] == name)

    def holder(self, name: str) -> Container:
        """The worker container that a singleton lives in."""
        address = self.actor(name)["node_ip"]
        return next(worker for worker in self.containers(WORKER) if address_of(worker) == address)

    def in_api(self, program: str) -> str:
        """Run Python code in the API's container, as a driver; it must succeed. Its output."""
        return run_in(self.container(API), "python", "-c", program)

    def checkpoint(self, name: str) -> None:
        """Bring everything from the write-ahead log of a singleton's store into its main file."""
        program = (
            f"import sqlite3; sqlite3.connect('{STATE}/{name}.sqlite3').execute('PRAGMA wal_checkpoint(TRUNCATE)')"
        )
        run_in(self.holder(name), "python", "-c", program)

    # What hurts

    def kill_actors(self, *names: str) -> None:
        """SIGKILL to the processes of singletons, all at once."""
        actors = [self.actor(name) for name in names]
        holder = self.holder(names[0])
        pids = " ".join(str(actor["pid"]) for actor in actors)
        # One that has just ended by itself is dead as well.
        run_in(holder, "bash", "-c", f"for pid in {pids}; do kill -KILL $pid || [[ ! -e /proc/$pid ]]; done")

    def kill_for_good(self, name: str) -> None:
        """`ray.kill` of a singleton, after which Ray does not restart it."""
        kill_for_good(self.container(API), name)

    def kill_process(self, service: str, command: str) -> None:
        """SIGKILL to a process inside a container, by the name of its program."""
        pids = [pid for pid in host_pids(self.container(service)) if psutil.Process(pid).name() == command]
        assert pids, f"no {command} in {service}"
        for pid in pids:
            os.kill(pid, signal.SIGKILL)

    def kill(self, *containers: Container) -> None:
        """SIGKILL to all that runs in the containers, as by a crash: Docker restarts them by their restart policy."""
        for container in containers:
            container.reload()
        killed = [container.attrs["State"]["Pid"] for container in containers]
        for pid in killed:
            os.kill(pid, signal.SIGKILL)  # the first process; the kernel kills the others with it
        for container, pid in zip(containers, killed, strict=True):
            wait_until(lambda container=container, pid=pid: first_process(container) != pid)  # type: ignore[misc]

    @contextmanager
    def slow_disk(self, name: str, delay_s: float) -> Iterator[None]:
        """Delay every write to disk and every fsync of a singleton's process, by strace."""
        pid = host_pid(self.holder(name), self.actor(name)["pid"])
        calls = "pwrite64,fsync,fdatasync"
        inject = f"--inject={calls}:delay_exit={round(delay_s * 1e6)}"
        command = ["strace", "--follow-forks", f"--trace={calls}", inject, "--output=/dev/null", f"--attach={pid}"]
        with subprocess.Popen(command, stderr=subprocess.DEVNULL) as strace:
            try:
                wait_until(lambda: "TracerPid:\t0\n" not in Path(f"/proc/{pid}/status").read_text())
                yield
            finally:
                strace.terminate()

    def start_bootstrap(self) -> Container:
        """Start one more bootstrap container and do not wait for it."""
        command = ["docker", "compose", "run", "--detach", "--no-deps", "-T", "bootstrap"]
        done = self.project.run(*command)
        assert done.returncode == 0, done.stdout
        return self._engine.containers.get(done.stdout.split()[-1])

    @contextmanager
    def cut(self, container: Container, *others: Container) -> Iterator[None]:
        """Drop all packets between a container and the others, addresses stay."""
        container.reload()
        enter = ["nsenter", "--net", f"--target={container.attrs['State']['Pid']}"]
        rules = [
            rule
            for other in others
            for rule in (["INPUT", "-s", address_of(other)], ["OUTPUT", "-d", address_of(other)])
        ]
        for rule in rules:
            subprocess.run([*enter, "iptables", "--wait", "-I", *rule, "-j", "DROP"], check=True)
        try:
            yield
        finally:
            for rule in rules:
                subprocess.run([*enter, "iptables", "--wait", "-D", *rule, "-j", "DROP"], check=True)

    @contextmanager
    def disconnected(self, container: Container) -> Iterator[None]:
        """Take a container off the network, as `docker network disconnect` does; it may get another address."""
        container.reload()
        ((name, attributes),) = container.attrs["NetworkSettings"]["Networks"].items()
        network = self._engine.networks.get(name)
        network.disconnect(container)
        try:
            yield
        finally:
            network.connect(container, aliases=attributes["Aliases"])

    # What must hold again

    def wait_until_ready(self) -> None:
        """All singletons answer, says the API."""
        self.project.wait_until_ready()

    def wait_until_healthy(self, service: str) -> None:
        """Docker says so of every container of the service."""
        wait_until(lambda: all(health(container) == "healthy" for container in self.containers(service)), 120)

    # The load

    def start_load_process(self, process: str, folder: str, seed: int, **knobs: str) -> subprocess.Popen[bytes]:
        """Start one of tests.faults.load's processes, where it belongs; knobs are of those that use `MwManager`."""
        module = ["-m", "tests.faults.load", process]
        with (self.journals / folder / f"{process}.log").open("wb") as log:
            if process.startswith("http"):
                command = [sys.executable, *module, str(self.journals / folder), str(seed)]
                environment = {**os.environ, "API_URL": str(self.project.api.base_url), "PYTHONPATH": str(PROJECT_ROOT)}
                return subprocess.Popen(command, cwd=PROJECT_ROOT, env=environment, stdout=log, stderr=log)
            variables = [f"--env={name}={value}" for name, value in knobs.items()]
            command = ["docker", "exec", *variables, str(self.load_node.name), "python", *module]
            command += [f"{JOURNALS}/{folder}", str(seed)]
            return subprocess.Popen(command, stdout=log, stderr=log)

    def look_at_the_end(self, process: str, folder: str) -> None:
        """Run one of its `ENDS`."""
        code = self.start_load_process(process, folder, 0).wait(END_DEADLINE_S)
        assert code == 0, (self.journals / folder / f"{process}.log").read_text(errors="replace")

    def repair(self) -> None:
        """Undo what a fault before this one has left behind because its test failed."""
        for service in (HEAD, WORKER, API):
            for container in self.containers(service):
                if container.status == "paused":
                    container.unpause()
        if any(
            [health(container) for container in self.containers(service)] != ["healthy"]
            for service in (HEAD, WORKER, API)
        ):
            self.project.make("up")
        self.load_node.reload()
        if self.load_node.status != "running":
            self.load_node.start()
        self.wait_for_load_node()
        self.wait_until_ready()

    def rejoin_load_node(self) -> None:
        """Start the load's node again, for another cluster or another token."""
        self.load_node.restart(timeout=5)
        self.wait_for_load_node()

    def wait_for_load_node(self) -> None:
        """A driver can start there."""
        probe = ["images/healthcheck.sh", "127.0.0.1", "52365", "/api/healthz"]
        wait_until(lambda: self.load_node.exec_run(probe).exit_code == 0, 120)

    def remove(self) -> None:
        """Stop everything and delete it."""
        self.load_node.remove(force=True)
        self.project.remove()

    def _start_load_node(self) -> Container:
        api = self.container(API)
        node = self._engine.containers.run(
            api.image,
            ["-c", LOAD_NODE],
            entrypoint=["bash"],
            name=f"{self.project.name}-load",
            environment=api.attrs["Config"]["Env"],
            network=next(iter(api.attrs["NetworkSettings"]["Networks"])),
            volumes={
                **{mount["Source"]: {"bind": mount["Destination"], "mode": "ro"} for mount in api.attrs["Mounts"]},
                str(PROJECT_ROOT / "tests"): {"bind": "/app/tests", "mode": "ro"},
                str(self.journals): {"bind": JOURNALS, "mode": "rw"},
            },
            labels={"com.docker.compose.project": "", "com.docker.compose.service": ""},  # the image has the stack's
            shm_size="320m",
            init=True,
            detach=True,
        )
        self.load_node = node
        self.wait_for_load_node()
        return node


def address_of(container: Container) -> str:
    """Its IP address in the stack's network."""
    (network,) = container.attrs["NetworkSettings"]["Networks"].values()
    return str(network["IPAddress"])


def first_process(container: Container) -> int:
    """As this machine numbers it; 0 when there is none."""
    container.reload()
    return int(container.attrs["State"]["Pid"])


def restart_count(container: Container) -> int:
    """How often Docker has started it again by its restart policy."""
    container.reload()
    return int(container.attrs["RestartCount"])


def health(container: Container) -> str:
    """What its health check says."""
    container.reload()
    state = container.attrs["State"]
    return str(state.get("Health", {}).get("Status", state["Status"])) if state["Running"] else "down"


def host_pids(container: Container) -> list[int]:
    """The processes of a container, as this machine numbers them."""
    table = container.top()
    column = table["Titles"].index("PID")
    return [int(row[column]) for row in table["Processes"]]


def host_pid(container: Container, pid: int) -> int:
    """The process that has this number in its container, as this machine numbers it."""
    for candidate in host_pids(container):
        numbers = re.search(r"^NSpid:\s(.*)$", Path(f"/proc/{candidate}/status").read_text(), re.MULTILINE)
        if numbers and int(numbers[1].split()[-1]) == pid:
            return candidate
    raise AssertionError(f"no process {pid} in {container.name}")
