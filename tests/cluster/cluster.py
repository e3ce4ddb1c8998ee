"""A real Ray cluster on this machine: the entrypoint's head and workers, on ports and with a token of its own."""

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import psutil

from scripts.host.ports import free_port, free_ports
from scripts.host.settings import process_environment
from scripts.host.token_file import ensure_token
from seedcore.ray_environment import STARTUP, ray_environment
from seedcore.settings import PROJECT_ROOT, Settings
from tests.checkout import WITHOUT_APP
from tests.waiting import wait_until

START_DEADLINE_S: Final = 60.0
STOP_DEADLINE_S: Final = 30.0
PROGRAM_DEADLINE_S: Final = 120.0  # of one driver program
AGENTS: Final = 3  # head and workers that a test may start


class Cluster:
    """Head and workers as processes. Nothing runs before `start_head`; leaving the `with` block stops what does.

    Args:
        folder: for state, token and logs.
        run_dir: for Ray's sockets; a short path, since they have at most 107 characters.
        knobs: environment variables over `.env`.
    """

    def __init__(self, folder: Path, run_dir: Path, **knobs: str) -> None:
        settings = Settings()
        self.token_file = folder / "secrets" / "token"
        ensure_token(self.token_file)
        self.environment: dict[str, str] = {
            **os.environ,
            **process_environment(settings),
            **ray_environment(settings),
            "RUNTIME": "local",
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            # Whatever stands in `app/`, these tests are of ours: a module of that name hides it.
            "PYTHONPATH": f"{WITHOUT_APP}:{PROJECT_ROOT}:{STARTUP}",
            "PYTHONSAFEPATH": "1",
            "RAY_ADDRESS": f"127.0.0.1:{free_port()}",
            "RAY_CLIENT_PORT": str(free_port()),
            "DASHBOARD_PORT": str(free_port()),
            "RAY_AGENT_PORT": str(free_ports(AGENTS)),
            "RAY_AUTH_TOKEN_PATH": str(self.token_file),
            "RAY_TMPDIR": str(run_dir),
            "GCS_DIR": str(run_dir / "gcs"),
            "STATE_DIR": str(folder / "state"),
            **knobs,
        }
        self._log = folder / "cluster.log"
        self._processes: list[subprocess.Popen[bytes]] = []

    @property
    def address(self) -> str:
        """`RAY_ADDRESS`."""
        return self.environment["RAY_ADDRESS"]

    def start_head(self) -> None:
        """Start the control plane and wait until it is healthy."""
        self._start("head", 0)

    def start_worker(self, number: int = 1, **knobs: str) -> None:
        """Start a node with CPUs and the state resource, and wait until it is healthy."""
        self._start("worker", number, RAY_WORKER_NUMBER=str(number), **knobs)

    def run(self, *arguments: str, **knobs: str) -> subprocess.CompletedProcess[str]:
        """Run Python with these arguments as a driver of the cluster; its output, whatever its exit code."""
        with self.popen(*arguments, **knobs) as process:
            try:
                output, _ = process.communicate(timeout=PROGRAM_DEADLINE_S)
            except subprocess.TimeoutExpired:
                process.kill()
                raise
        return subprocess.CompletedProcess(arguments, process.returncode, output)

    def popen(self, *arguments: str, **knobs: str) -> subprocess.Popen[str]:
        """`run` without waiting; standard input is a pipe, standard error goes where standard output goes."""
        return subprocess.Popen(
            [sys.executable, *arguments],
            cwd=PROJECT_ROOT,
            env={**self.environment, **knobs},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def _start(self, role: str, agent: int, **knobs: str) -> None:
        Path(self.environment["GCS_DIR"]).mkdir(parents=True, exist_ok=True)
        with self._log.open("ab") as log:
            process = subprocess.Popen(
                ["images/entrypoint.sh", role],
                cwd=PROJECT_ROOT,
                env={**self.environment, **knobs},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._processes.append(process)
        port = int(self.environment["RAY_AGENT_PORT"]) + agent
        wait_until(lambda: self._is_healthy(process, port), START_DEADLINE_S)

    def _is_healthy(self, process: subprocess.Popen[bytes], port: int) -> bool:
        if process.poll() is not None:
            raise AssertionError(f"a node ended with {process.returncode}:\n{self._log.read_text()[-4000:]}")
        probe = ["images/healthcheck.sh", "127.0.0.1", str(port), "/api/healthz"]
        return subprocess.run(probe, cwd=PROJECT_ROOT, capture_output=True, check=False).returncode == 0

    def kill_last_node(self) -> None:
        """SIGKILL to the node that was started last and to all its processes."""
        node = psutil.Process(self._processes.pop().pid)
        _kill([node, *node.children(recursive=True)])

    def stop(self) -> None:
        """Stop all nodes, the last one first, and everything that they have started."""
        for process in reversed(self._processes):
            family = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(STOP_DEADLINE_S)
            except subprocess.TimeoutExpired:
                process.kill()
            _kill(family)
        self._processes.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def _kill(processes: list[psutil.Process]) -> None:
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(processes, STOP_DEADLINE_S)
