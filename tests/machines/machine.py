"""Machines of their own on this one: network, process ids, shared memory, and a checkout each."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final

from tests.checkout import copy_checkout
from tests.stack.hostile import HOSTILE
from tests.waiting import wait_until

SWITCH: Final = "seedcore-sw"  # the namespace that the machines' cables end in
BRIDGE: Final = "fast"
SLOW_BRIDGE: Final = "slow"
NAME: Final = "seedcore-m{}"
HEAD_PORTS: Final = ("6379", "10001", "21000:21299")  # as docs/cluster.md lists them
WORKER_PORTS: Final = "21200:21299"
NETWORK: Final = "10.77.0.{}"
VERB_TIMEOUT_S: Final = 280.0
# What runs as its first process, with which all others end; a shell, since it takes in orphans.
BOOT: Final = """
mount --make-rprivate /
mount -t tmpfs -o size=4g tmpfs /dev/shm
mount -t tmpfs -o size=1g tmpfs "$0"
while :; do sleep 3600 & wait $!; done
"""
# Runs a module in the stack as the verbs do, also on a machine that has joined, where `make run` refuses to.
IN_STACK: Final = """
import sys
from scripts.host.choose_runtime import running, settings_in_use
from scripts.host.runtime import WORKER
sys.exit(running(settings_in_use()).run_module(WORKER, sys.argv[1], sys.argv[2:]))
"""
NETWORKS: Final = Path("/run/netns")
SLOW_LINE: Final = Path(__file__).with_name("slow_line.py")


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


class Switch:
    """What the cables of all machines end in."""

    def __enter__(self) -> "Switch":
        self._remove()
        ip("netns", "add", SWITCH)
        for bridge in (BRIDGE, SLOW_BRIDGE):
            ip("-n", SWITCH, "link", "add", bridge, "type", "bridge")
            ip("-n", SWITCH, "link", "set", bridge, "up")
        return self

    def __exit__(self, *_: object) -> None:
        self._remove()

    @staticmethod
    def _remove() -> None:
        subprocess.run(["ip", "netns", "del", SWITCH], check=False, capture_output=True)


class Machine:
    """One machine; off until `boot`.

    Args:
        number: from 1 on; its address ends with it.
        folder: for its checkout, which survives a power cut.
    """

    def __init__(self, number: int, folder: Path) -> None:
        self.address = NETWORK.format(number)
        self.name = NAME.format(number)
        self._cable = f"cable{number}"
        self._init: subprocess.Popen[bytes] | None = None
        self.folder = folder / "seedcore"
        copy_checkout(self.folder)
        self.small_disk = folder / "small"  # in its memory
        self.small_disk.mkdir()

    def boot(self) -> None:
        """Switch it on."""
        subprocess.run(["ip", "netns", "del", self.name], check=False, capture_output=True)
        ip("netns", "add", self.name)
        ip("-n", self.name, "link", "add", "eth0", "type", "veth", "peer", "name", self._cable, "netns", SWITCH)
        ip("-n", SWITCH, "link", "set", self._cable, "master", BRIDGE, "up")
        ip("-n", self.name, "addr", "add", f"{self.address}/24", "dev", "eth0")
        for device in ("eth0", "lo"):
            ip("-n", self.name, "link", "set", device, "up")
        # Not `ip netns exec`, which hides the control groups that a Docker Engine needs.
        isolated = ["unshare", "--pid", "--mount", "--fork", "--kill-child", "--mount-proc"]
        first = ["bash", "-c", BOOT, str(self.small_disk)]
        self._init = subprocess.Popen(["nsenter", f"--net={NETWORKS / self.name}", *isolated, *first])
        wait_until(lambda: self.run("test", "-d", "/tmp", folder=Path("/")).returncode == 0)

    def cut_power(self) -> None:
        """End all of its processes at once; what is in its memory is gone."""
        assert self._init is not None
        os.kill(self._pid, signal.SIGKILL)
        self._init.wait()
        self._init = None
        ip("-n", SWITCH, "link", "del", self._cable)
        ip("netns", "del", self.name)

    def pull_cable(self) -> None:
        """Nothing comes in or goes out."""
        ip("-n", SWITCH, "link", "set", self._cable, "down")

    def plug_cable(self) -> None:
        """It is connected again."""
        ip("-n", SWITCH, "link", "set", self._cable, "up")

    @contextmanager
    def slow_line(self) -> Iterator[None]:
        """Between it and all others there is a slow line."""
        command = ["ip", "netns", "exec", SWITCH, sys.executable, str(SLOW_LINE), SLOW_BRIDGE, BRIDGE]
        with subprocess.Popen(command) as line:
            try:
                ip("-n", SWITCH, "link", "set", self._cable, "master", SLOW_BRIDGE)
                yield
                assert line.poll() is None
            finally:
                ip("-n", SWITCH, "link", "set", self._cable, "master", BRIDGE)
                line.kill()

    def let_in(self, *ports: str) -> None:
        """A firewall that lets new connections in to these TCP ports alone, such as 6379 or 21000:21099."""
        for rule in (
            ["-F", "INPUT"],
            ["-P", "INPUT", "DROP"],
            ["-A", "INPUT", "-i", "lo", "-j", "ACCEPT"],
            ["-A", "INPUT", "-m", "conntrack", "--ctstate", "ESTABLISHED,RELATED", "-j", "ACCEPT"],
            *(["-A", "INPUT", "-p", "tcp", "--dport", port, "-j", "ACCEPT"] for port in ports),
        ):
            self._network("iptables", "--wait", *rule)

    def command(self, *command: str, folder: Path | None = None) -> list[str]:
        """What runs a command on it."""
        enter = ["nsenter", f"--target={self._pid}", "--net", "--pid", "--mount"]
        return [*enter, "env", "-C", str(folder or self.folder), *command]

    def run(
        self, *command: str, stdin: str = "", folder: Path | None = None, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """The output of a command on it, whatever its exit code."""
        shell = HOSTILE if command[0] == "make" else {}
        return subprocess.run(
            self.command(*command, folder=folder),
            input=stdin,
            env=_environment(**{**shell, **environment}),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=VERB_TIMEOUT_S,
            check=False,
        )

    def start(self, *command: str, log: IO[bytes], **environment: str) -> subprocess.Popen[bytes]:
        """Start a command on it, and do not wait for its end."""
        return subprocess.Popen(self.command(*command), env=_environment(**environment), stdout=log, stderr=log)

    def make(self, *arguments: str, stdin: str = "") -> str:
        """Run a verb; it must succeed. Its output."""
        done = self.run("make", *arguments, stdin=stdin, RUNTIME="local")
        assert done.returncode == 0, f"make {' '.join(arguments)} exited with {done.returncode}:\n{done.stdout}"
        return done.stdout

    def python(self, code: str, *arguments: str) -> Any:
        """What code prints that runs as a driver in the stack, from the folder of the project."""
        job = self.folder / "app/jobs/of_test.py"
        job.parent.mkdir(parents=True, exist_ok=True)
        job.write_text(code)
        return self.make("run", "M=app.jobs.of_test", f"ARGS={' '.join(arguments)}")

    def in_stack(self, module: str, *arguments: str) -> list[str]:
        """The command that runs a module as a driver of the stack, from the folder of the project."""
        return [str(self.folder / ".venv/bin/python"), "-c", IN_STACK, module, *arguments]

    def status(self) -> Any:
        """What its API says of the stack."""
        return json.loads(self.run("curl", "-sS", "--noproxy", "*", "http://127.0.0.1:8000/status").stdout)

    @property
    def token(self) -> str:
        """Of its stack."""
        return (self.folder / ".secrets/ray_auth_token").read_text()

    def remove(self) -> None:
        """Switch it off for good."""
        if self._init is not None:
            self.cut_power()

    @property
    def _pid(self) -> int:
        """The first process of the machine, as this one sees it."""
        assert self._init is not None
        until = time.monotonic() + VERB_TIMEOUT_S
        while time.monotonic() < until:
            pid = self._init.pid
            while children := Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
                pid = int(children[0])
                if Path(f"/proc/{pid}/status").read_text().partition("NSpid:")[2].split("\n")[0].split()[-1:] == ["1"]:
                    return pid
        raise AssertionError("the machine did not boot")

    def _network(self, *command: str) -> None:
        subprocess.run(["ip", "netns", "exec", self.name, *command], check=True, capture_output=True)


def _environment(**changed: str) -> dict[str, str]:
    return {**{name: value for name, value in os.environ.items() if name != "MAKELEVEL"}, **changed}
