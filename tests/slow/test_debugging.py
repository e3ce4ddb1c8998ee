"""The debugger of the API, as an editor speaks to it, and that of tasks and actors, in a terminal."""

import ast
import os
import pty
import re
import select
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from scripts.host.ports import free_port, is_free
from tests.slow.debug_adapter import DebugAdapter
from tests.stack.project import MAKE_TIMEOUT_S, Project
from tests.waiting import wait_until

pytestmark = pytest.mark.timeout(900)  # the API starts anew several times

ROUTES = """
from fastapi import APIRouter

router = APIRouter()


@router.get("/doubled/{number}")
def doubled(number: int) -> int:
    twice = number * 2
    return twice
"""
LINE = 10  # `return twice`
PROGRAM = """
import ray

ray.init()


@ray.remote
def stop(number):
    answer = number + 1
    breakpoint()
    return answer


print("the task returned", ray.get(stop.remote(41)))
"""


@pytest.fixture
def debugged(stack: Project) -> Any:
    """A stack with a route of its own, whose API runs under the debugger; the port of that."""
    (stack.folder / "app/routes.py").write_text(ROUTES)
    port = free_port()
    stack.environment["DEBUG_PORT"] = str(port)
    if stack.runtime == "local":  # the processes have the knobs of the last `make up`
        stack.make("up")
    told = stack.make("debug")
    assert f"127.0.0.1:{port}" in told
    yield port
    stack.make("debug", "OFF=1")
    del stack.environment["DEBUG_PORT"]
    stack.make("up")


def test_a_breakpoint_in_a_route_stops_there(stack: Project, debugged: int) -> None:
    assert f"the debugger is on at 127.0.0.1:{debugged}" in stack.make("verify")
    assert "whoever reaches" in stack.run("make", "doctor").stdout
    adapter = DebugAdapter(debugged, stack.folder, "/app" if stack.runtime == "docker" else str(stack.folder))
    source = {"path": str(stack.folder / "app/routes.py")}
    (found,) = adapter.request("setBreakpoints", source=source, breakpoints=[{"line": LINE}])["breakpoints"]
    assert found["verified"], found
    adapter.begin()
    with ThreadPoolExecutor(1) as client:
        asked = client.submit(stack.api.get, "/doubled/21")
        thread = adapter.event("stopped")["threadId"]
        frame = adapter.request("stackTrace", threadId=thread)["stackFrames"][0]
        assert (frame["name"], frame["line"], frame["source"]["path"]) == ("doubled", LINE, source["path"])
        assert adapter.request("evaluate", expression="twice", frameId=frame["id"])["result"] == "42"
        with pytest.raises(httpx.ReadTimeout):
            httpx.get(f"{stack.api.base_url}/healthz", timeout=1)
        assert not asked.done()
        adapter.request("setBreakpoints", source=source, breakpoints=[])
        adapter.request("continue", threadId=thread)
        assert asked.result().json() == 42
    adapter.close()
    assert stack.api.get("/doubled/4").json() == 8


def test_off_means_off(stack: Project) -> None:
    port = stack.environment["DEBUG_PORT"] = str(free_port())
    try:
        stack.make("up")
        stack.make("debug")
        assert not is_free(int(port))
        stack.make("debug", "OFF=1")
        assert is_free(int(port))
        assert "older settings" not in stack.run("make", "doctor").stdout
        assert "the debugger" not in stack.make("verify")
    finally:
        del stack.environment["DEBUG_PORT"]
        stack.make("up")


class Terminal:
    """A command on a terminal of its own."""

    def __init__(self, stack: Project, *command: str) -> None:
        self._here, there = pty.openpty()
        self._process = subprocess.Popen(
            command, cwd=stack.folder, env=stack.environment, stdin=there, stdout=there, stderr=there
        )
        os.close(there)
        self.shown = ""

    def read_until(self, text: str) -> None:
        """Until it shows this after what was read before."""
        start, deadline = len(self.shown), time.monotonic() + MAKE_TIMEOUT_S
        while text not in self.shown[start:]:
            ready, _, _ = select.select([self._here], [], [], deadline - time.monotonic())
            assert ready, self.shown
            try:
                self.shown += os.read(self._here, 4096).decode(errors="replace")
            except OSError as error:  # so says a terminal whose program has ended
                raise AssertionError(self.shown) from error

    def type(self, line: str) -> None:
        """As a person does."""
        os.write(self._here, f"{line}\n".encode())

    def leave(self) -> None:
        """With Ctrl-D."""
        self.read_until("Index of a breakpoint")
        os.write(self._here, b"\x04")
        self._process.wait(MAKE_TIMEOUT_S)
        os.close(self._here)


def test_a_breakpoint_in_a_task_is_reached_from_a_terminal(stack: Project) -> None:
    (stack.folder / "app/jobs").mkdir(exist_ok=True)
    (stack.folder / "app/jobs/stops.py").write_text(PROGRAM)
    with ThreadPoolExecutor(1) as runner:
        done = runner.submit(stack.make, "run", "M=app.jobs.stops")
        terminal = Terminal(stack, "make", "debug-ray")
        while "stops.py" not in terminal.shown:
            terminal.read_until("Index of a breakpoint")
            if "stops.py" not in terminal.shown:
                terminal.type("")  # looks again
        # Ray notes a breakpoint before it listens there.
        wait_until(lambda: "RemotePdb session open" in stack.make("logs", "FOLLOW=0"))
        terminal.type("0")
        terminal.read_until("(Pdb)")
        terminal.type("p answer + 1000")
        terminal.read_until("1042")
        terminal.type("c")
        assert "the task returned 42" in done.result()
        terminal.leave()


ON_EACH_WORKER = PROGRAM.replace(
    "ray.get(stop.remote(41))",
    """ray.get([
        stop.options(label_selector={"ray.io/node-id": node["NodeID"]}).remote(41)
        for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU")
    ])""",
)


def test_a_breakpoint_is_reached_in_whichever_container_it_waits(docker_stack: Project) -> None:
    (docker_stack.folder / "app/jobs").mkdir(exist_ok=True)
    (docker_stack.folder / "app/jobs/stops.py").write_text(ON_EACH_WORKER)
    docker_stack.make("scale", "N=2")
    try:
        with ThreadPoolExecutor(1) as runner:
            before = docker_stack.make("logs", "FOLLOW=0").count("RemotePdb session open")
            done = runner.submit(docker_stack.make, "run", "M=app.jobs.stops")
            wait_until(lambda: docker_stack.make("logs", "FOLLOW=0").count("RemotePdb session open") == before + 2)
            been = set()
            for _ in range(2):  # one waits in each worker
                terminal = Terminal(docker_stack, "make", "debug-ray")
                terminal.read_until("Index of a breakpoint")
                been.add(re.findall(r"This terminal is in (\S+)\.", terminal.shown)[0])
                terminal.type("0")
                terminal.read_until("(Pdb)")
                terminal.type("p answer + 1000")
                terminal.read_until("1042")
                terminal.type("c")
                terminal.leave()
            assert len(been) == 2
            assert "the task returned [42, 42]" in done.result()
    finally:
        docker_stack.make("scale", "N=1")


FOR_AN_EDITOR = PROGRAM.replace("ray.init()", 'ray.init(runtime_env={"env_vars": {"RAY_DEBUG": "1"}})')
PAUSED = """
import ray
from ray.util.state import list_workers

ray.init()
print([(worker.ip, worker.debugger_port) for worker in list_workers(detail=True) if worker.num_paused_threads])
"""


def test_a_breakpoint_in_a_task_is_reached_from_an_editor(docker_stack: Project) -> None:
    """As Ray's extension of VS Code does it: the dashboard tells who is paused, and debugpy answers there."""
    (docker_stack.folder / "app/jobs").mkdir(exist_ok=True)
    (docker_stack.folder / "app/jobs/stops.py").write_text(FOR_AN_EDITOR)
    (docker_stack.folder / "app/jobs/paused.py").write_text(PAUSED)

    def paused() -> tuple[str, int] | None:
        told = docker_stack.make("run", "M=app.jobs.paused")
        found: list[tuple[str, int]] = ast.literal_eval(re.findall(r"(?m)^\[.*\]$", told)[-1])
        return found[0] if found else None

    with ThreadPoolExecutor(1) as runner:
        done = runner.submit(docker_stack.make, "run", "M=app.jobs.stops")
        host, port = wait_until(paused)
        adapter = DebugAdapter(port, docker_stack.folder, "/app", host)
        adapter.begin()
        thread = adapter.event("stopped")["threadId"]
        frames = adapter.request("stackTrace", threadId=thread)["stackFrames"]
        stopped = next(frame for frame in frames if frame["name"] == "stop")
        assert stopped["source"]["path"] == str(docker_stack.folder / "app/jobs/stops.py")
        assert adapter.request("evaluate", expression="answer + 1000", frameId=stopped["id"])["result"] == "1042"
        adapter.request("continue", threadId=thread)
        assert "the task returned 42" in done.result()
        adapter.close()
