"""A copy of the project with a stack of its own: own folder, own Compose project, own ports."""

import json
import os
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Final
from uuid import uuid4

import httpx

from scripts.host.ports import free_port, free_ports
from tests.checkout import copy_checkout, restore_checkout
from tests.stack.hostile import HOSTILE
from tests.waiting import wait_until

AGENTS: Final = 3  # head and workers that a test may start
MAKE_TIMEOUT_S: Final = 280.0
HTTP_TIMEOUT_S: Final = 70.0  # above CALL_DEADLINE_S, so that the API's own explanation arrives
DOCTORS_CHECKS: Final = 10  # at least
# Not that of the user's own stack, nor that of the other half of a run: the application is in the image.
IMAGE: Final = f"seedcore-test{os.environ.get('PYTEST_XDIST_WORKER', '')}:dev"
OF_MAKE_TEST: Final = "MAKELEVEL"  # else a make in a test takes itself for a part of it
# What a shell says of them is for other programs.
GIVEN_TO_MAKE: Final = ("RAY_ADDRESS", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN_PATH", "COMPOSE_FILE")


class Project:
    """A copy of the checkout in which `make` runs as a user would run it.

    Args:
        folder: where to copy to.
        runtime: docker or local.
        knobs: environment variables over `.env`.
    """

    shell: ClassVar[Mapping[str, str]] = HOSTILE

    def __init__(self, folder: Path, runtime: str, **knobs: str) -> None:
        copy_checkout(folder)
        self.folder = folder
        self.runtime = runtime
        self.name = f"seedcore-test-{uuid4().hex[:8]}"
        self.api_port = free_port()
        self.dashboard_port = free_port()
        self.prometheus_port = free_port()
        self.environment = {
            **{name: value for name, value in os.environ.items() if name != OF_MAKE_TEST},
            "RUNTIME": runtime,
            "COMPOSE_PROJECT_NAME": self.name,
            "SEEDCORE_IMAGE": IMAGE,
            "API_PORT": str(self.api_port),
            "DASHBOARD_PORT": str(self.dashboard_port),
            "PROMETHEUS_PORT": str(self.prometheus_port),
            "RAY_CLIENT_PORT": str(free_port()),
            "RAY_AGENT_PORT": str(free_ports(AGENTS)),
            **knobs,
        }
        self.given = {"RAY_ADDRESS": f"127.0.0.1:{free_port()}"}
        self.api = httpx.Client(base_url=f"http://127.0.0.1:{self.api_port}", timeout=HTTP_TIMEOUT_S)

    def run(self, *command: str, **knobs: str) -> subprocess.CompletedProcess[str]:
        """Run a command in the copy and return its output, whatever its exit code."""
        shell: Mapping[str, str] = {}
        if command[0] == "make":
            shell = self.shell
            given = self.given | {name: value for name, value in knobs.items() if name in GIVEN_TO_MAKE}
            command = (*command, *(f"{name}={value}" for name, value in given.items()))
        return subprocess.run(
            command,
            cwd=self.folder,
            env={**shell, **self.environment, **knobs},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=MAKE_TIMEOUT_S,
            check=False,
        )

    def make(self, verb: str, *arguments: str, **knobs: str) -> str:
        """Run `make VERB`; it must succeed. Its output."""
        done = self.run("make", verb, *arguments, **knobs)
        assert done.returncode == 0, f"make {verb} exited with {done.returncode}:\n{done.stdout}"
        return done.stdout

    def doctor(self, **knobs: str) -> dict[str, str]:
        """What `make doctor` says is wrong, by the title of its check."""
        done = self.run("make", "doctor", "ARGS=--json", **knobs)
        assert "Traceback" not in done.stdout, done.stdout
        results = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
        assert len(results) > DOCTORS_CHECKS, done.stdout
        failures = {result["title"]: result["detail"] for result in results if result["holds"] is False}
        assert bool(done.returncode) is bool(failures)
        return failures

    def doctor_between(self, harm: Callable[[], object], heal: Callable[[], object]) -> dict[str, str]:
        """What `doctor` says while something is as it should not be."""
        harm()
        try:
            return self.doctor()
        finally:
            heal()

    def put(self, organ_id: str, item_id: str, value: Any) -> None:
        """Write an organ's item through the API."""
        answer = self.api.put(f"/organs/{organ_id}/items/{item_id}", json={"value": value})
        assert answer.status_code == 200, answer.text

    def get(self, organ_id: str, item_id: str) -> Any:
        """Read an organ's item through the API."""
        answer = self.api.get(f"/organs/{organ_id}/items/{item_id}")
        assert answer.status_code == 200, answer.text
        return answer.json()["value"]

    def actors(self) -> dict[str, tuple[str, int]]:
        """Node and process of each singleton, by name."""
        answer = self.api.get("/actors").json()
        return {actor["name"]: (actor["node_id"], actor["pid"]) for actor in answer["actors"]}

    def wait_until_ready(self) -> None:
        """Wait until `/readyz` answers 200."""
        wait_until(lambda: self.api.get("/readyz").status_code == 200)

    def as_found(self) -> None:
        """Give a running stack the code of the checkout again, and wait until everything works on it."""
        if restore_checkout(self.folder):
            wait_until(lambda: not self.api.get("/actors").json()["code"]["stale"])
        self.wait_until_ready()
        if any(actor["code"]["stale"] for actor in self.api.get("/actors").json()["actors"]):
            self.make("reload-actors")

    def dashboard_status(self, token: str) -> int:
        """What Ray answers to a token."""
        url = f"http://127.0.0.1:{self.dashboard_port}/api/version"
        return httpx.get(url, headers={"Authorization": f"Bearer {token}"}).status_code

    @property
    def token(self) -> str:
        """Ray's token."""
        return (self.folder / ".secrets/ray_auth_token").read_text().strip()

    def remove(self) -> None:
        """Stop the stack and delete everything that it has left."""
        self.api.close()
        self.make("clean", "YES=1")
