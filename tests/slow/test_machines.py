"""A machine with a Docker Engine of its own joins a stack on this one's."""

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

import docker
import httpx
import psutil
import pytest

from scripts.host.docker_engine import base_image_in_place_of, has_image
from scripts.host.settings import load_host_settings
from tests.machines.conftest import disks, network  # noqa: F401 - fixtures
from tests.machines.machine import BRIDGE, SWITCH, Machine, ip
from tests.stack.project import Project
from tests.waiting import wait_until

CABLE: Final = "seedcore-host"  # of this machine, to the switch
ADDRESS: Final = "10.77.0.9"  # of this machine
PORTS: Final = "17000"  # below those that other tests take
TIMEOUT_S: Final = 600.0


@contextmanager
def cable_of_this_machine() -> Iterator[None]:
    """This machine is on the switch, and lets the others out, since they build an image."""
    ip("link", "add", CABLE, "type", "veth", "peer", "name", "cable9", "netns", SWITCH)
    rules = (
        ["nat", "POSTROUTING", "-s", f"{ADDRESS}/24", "!", "-o", CABLE, "-j", "MASQUERADE"],
        ["filter", "FORWARD", "-i", CABLE, "-j", "ACCEPT"],
        ["filter", "FORWARD", "-o", CABLE, "-j", "ACCEPT"],
    )
    try:
        ip("addr", "add", f"{ADDRESS}/24", "dev", CABLE)
        ip("link", "set", CABLE, "up")
        ip("-n", SWITCH, "link", "set", "cable9", "master", BRIDGE, "up")
        for table, *rule in rules:
            subprocess.run(["iptables", "--wait", "--table", table, "--insert", *rule], check=True)
        yield
    finally:
        for table, *rule in rules:
            subprocess.run(["iptables", "--wait", "--table", table, "--delete", *rule], check=False)
        ip("link", "del", CABLE)


class DockerMachine(Machine):
    """One with an engine, of the programs that this machine's runs."""

    def boot(self) -> None:
        """Switch it on, and have its engine start."""
        super().boot()
        ip("-n", self.name, "route", "add", "default", "via", ADDRESS)
        daemon = next(process for process in psutil.process_iter() if process.name() == "dockerd")
        root = self.folder.parent
        command = [daemon.exe(), "--data-root", f"{root}/engine", "--host", self.engine]
        # In memory, which is gone with the power.
        command += ["--exec-root", f"{self.small_disk}/run", "--pidfile", f"{self.small_disk}/pid"]
        with (root / "engine.log").open("ab") as log:
            self.start(*command, log=log, PATH=daemon.environ()["PATH"])
        wait_until(lambda: self.docker("info").returncode == 0)

    @property
    def engine(self) -> str:
        """Where it answers."""
        return f"unix://{self.folder.parent}/engine.sock"

    def docker(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run `docker` with it."""
        return self.run("docker", *arguments, DOCKER_HOST=self.engine)

    def verb(self, *arguments: str, stdin: str = "") -> str:
        """Run `make` on it, without the proxy of the tests' shell, through which no image is built; it must succeed."""
        done = self.run(
            "make", *arguments, stdin=stdin, RUNTIME="docker", DOCKER_HOST=self.engine, HTTP_PROXY="", http_proxy=""
        )
        assert done.returncode == 0, done.stdout
        return done.stdout


@pytest.mark.timeout(TIMEOUT_S)
@pytest.mark.usefixtures("network")
def test_a_machine_joins_on_docker(engine: docker.DockerClient, disks: Path) -> None:  # noqa: F811
    with ExitStack() as ending:
        ending.enter_context(cable_of_this_machine())
        knobs = {"CLUSTER_ADDRESS": ADDRESS, "CLUSTER_PORTS": PORTS, "COMPOSE_PROFILES": "observability"}
        head = Project(disks / "head", "docker", **knobs)
        head.given = {}  # the address in the cluster has the port of .env
        ending.callback(head.remove)
        head.make("up")
        second = DockerMachine(2, disks / "docker")
        ending.callback(second.remove)
        second.boot()
        image = disks / "base.tar"
        wanted = head.environment.get("BASE_IMAGE") or load_host_settings().base_image
        base = wanted if has_image(engine, wanted) else base_image_in_place_of(engine, wanted)
        assert base
        subprocess.run(["docker", "save", "--output", str(image), base], check=True)
        assert second.docker("load", "--input", str(image)).returncode == 0
        lines = [f"{name}={head.environment[name]}\n" for name in ("RAY_CLIENT_PORT", "CLUSTER_PORTS")]
        (second.folder / ".env.local").write_text("".join([*lines, f"BASE_IMAGE={base}\n"]))
        second.verb("join", f"HEAD={ADDRESS}", stdin=head.token)
        said = head.make("verify")
        assert "❌" not in said
        assert f"{second.address} (" in said.partition("a task on a worker")[2].splitlines()[0]
        assert "✅ they reach one another" in second.verb("doctor")
        prometheus = f"http://127.0.0.1:{head.prometheus_port}/api/v1/targets"
        found = httpx.get(prometheus, trust_env=False).raise_for_status().json()["data"]["activeTargets"]
        assert f"http://{second.address}:{int(PORTS) + 201}/metrics" in {target["scrapeUrl"] for target in found}

        second.cut_power()
        wait_until(lambda: f"💻 {second.address} (" in (seen := head.make("monitor")) and "missed" in seen, 120)
        second.boot()  # and nobody types anything
        wait_until(lambda: "missed" not in head.make("monitor"), 120)
        second.verb("leave")
