"""The stack as plain processes: supervisor runs what supervisord.conf says, in the order that compose.yaml has."""

import hashlib
import os
import shutil
import stat
import subprocess
import sys
import time
import xmlrpc.client
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, Final
from urllib.parse import urlsplit

import psutil
from supervisor.xmlrpc import Faults, SupervisorTransport

from scripts.host.cluster_network import interface_of, ports_of_node
from scripts.host.package_index import environment_for_stack
from scripts.host.ports import LOOPBACK, require_free_ports
from scripts.host.remedies import explain_failures
from scripts.host.runtime import (
    API,
    BOOTSTRAP,
    HEAD,
    LOCAL_DIR,
    LOG_LINES,
    LOG_LINES_SHOWN,
    POLL_S,
    SERVICES,
    VALKEY,
    WITHOUT_YOURS,
    WORKER,
    ServiceFailure,
    StackError,
    is_api_ready,
    relative,
    require_good_code,
    show_log,
)
from scripts.host.settings import MAX_WORKERS, HostSettings, own_variables, process_environment
from seedcore.errors import EXIT_ONLY_YOURS
from seedcore.ray_environment import STARTUP, ray_environment
from seedcore.settings import PROJECT_ROOT, AuthMode

OVERRIDE: Final = "compose.override.yaml"
RUN_DIR: Final = "STACK_RUN_DIR"  # in the environment of all processes that supervisord has started, and no others
STOP_DEADLINE_S: Final = 60  # for all programs together; each has stopwaitsecs in supervisord.conf
CRASH_LOOP_STARTS: Final = 3  # so often started, a program will not come up any more
NODE_HEALTH_PATH: Final = "/api/healthz"
# A state of supervisor's in words.
ENDED: Final = {
    "EXITED": "ended with exit code {}",
    "BACKOFF": "ended with exit code {}, and is started again",
    "FATAL": "ended again and again with exit code {}",
}
RUNNING_STATES: Final = frozenset({"STARTING", "RUNNING", "BACKOFF"})


class _ShuttingDownError(StackError):
    """Raised while supervisord stops its programs and takes no orders any more."""


class LocalRuntime:
    """Runs supervisord.conf."""

    name = "local"

    def __init__(self, settings: HostSettings) -> None:
        self._settings = settings
        stack = f"{os.getuid()}:{PROJECT_ROOT}:{settings.compose_project_name}"
        # Ray puts sockets below it, whose paths have at most 107 characters.
        self._run_dir = Path("/tmp") / f"seedcore-{hashlib.sha256(stack.encode()).hexdigest()[:12]}"  # noqa: S108
        self._log_dir = LOCAL_DIR / "log" / settings.compose_project_name
        # As each Docker stack has its own volume: on one store, stacks fence and delete each other's items.
        self._state_dir = settings.state_dir / settings.compose_project_name
        self._ray_dir = self._run_dir / "ray"
        self._valkey_dir = self._state_dir / VALKEY
        self._debug_mark = self._run_dir / "debug"
        self._environment = self._make_environment()

    def prepare(self) -> None:
        """The virtual environment is there, since this runs in it."""

    def up(self, changes: Callable[[], None] = lambda: None) -> None:
        """Start what does not run, one after the other, each when the one before is healthy."""
        host = self._settings.ray_address.rpartition(":")[0]
        if host not in (LOOPBACK, "localhost"):
            raise StackError(
                f"RAY_ADDRESS={self._settings.ray_address}: without Docker the stack starts its own head, so it must "
                f"be {LOOPBACK}:PORT. Change it in .env."
            )
        if self._settings.ray_auth_mode is AuthMode.DISABLED:
            print("warning: RAY_AUTH_MODE=disabled, so whoever reaches this machine can run code through Ray's ports")
        environment = Path(sys.prefix).resolve()  # as its programs find it
        if " " in str(environment):
            raise StackError(
                f"Ray cannot start from a path with a space in it, such as {environment}. "
                "Move the checkout, or `make up RUNTIME=docker`."
            )
        if self.is_up() and self._running_environment() != self._fingerprint():
            require_good_code(self)
            self.require_free_ports()
            print("the settings or the token have changed: starting afresh")
            self.down(remove_state=False)
        for folder in (self._log_dir, self._state_dir):
            folder.mkdir(parents=True, exist_ok=True)
        if not self.is_up():
            self._kill_leftovers()
            self.require_free_ports()
            self._start_supervisord()
        changes()
        if (PROJECT_ROOT / OVERRIDE).exists():
            print(f"{OVERRIDE} is for Docker: what it adds is not started")
        deadline = time.monotonic() + self._settings.up_deadline_s
        if self._settings.cluster_head:
            self._start_workers(self._settings.ray_worker_replicas, deadline)
            return
        if self._settings.has_valkey:
            self._valkey_dir.mkdir(exist_ok=True)
            self._start(VALKEY, deadline)
        self._start(HEAD, deadline)
        self._start_workers(self._settings.ray_worker_replicas, deadline)
        try:
            self._start(BOOTSTRAP, deadline)
        except StackError as error:
            if self._state(BOOTSTRAP)["exitstatus"] != EXIT_ONLY_YOURS:
                raise
            with self._supervisor() as supervisor:
                if self._state(API)["statename"] not in RUNNING_STATES:
                    supervisor.startProcess(API, False)
            raise StackError(f"{error}\n{WITHOUT_YOURS}") from error
        self._start(API, deadline)

    def down(self, *, remove_state: bool) -> None:
        """Stop supervisord and all programs; remove what only a running stack needs."""
        if self.is_up():
            with self._supervisor() as supervisor:
                pid = supervisor.getPID()
                supervisor.shutdown()
            self._wait_until_gone(pid)
        self._kill_leftovers()
        self._remove_run_dir()
        if remove_state:
            _remove_stores(self._state_dir)
            shutil.rmtree(self._valkey_dir, ignore_errors=True)
            shutil.rmtree(self._log_dir, ignore_errors=True)

    def is_up(self) -> bool:
        """Whether our supervisord answers."""
        if not (self._run_dir / "supervisor.sock").exists():
            return False
        try:
            with self._supervisor() as supervisor:
                supervisor.getState()
        except _ShuttingDownError:  # of a `make down` that was interrupted
            session = self._supervisord_session()
            if session is not None:
                self._wait_until_gone(session)
            return False
        except OSError:
            return False
        return True

    def has_items(self) -> bool:
        """Whether the folder has stores, or what valkey writes."""
        return any(_stores(self._state_dir)) or self._valkey_dir.exists()

    def engine(self) -> tuple[str, str]:
        """None."""
        return "", ""

    def services(self) -> tuple[str, ...]:
        """Ours; the user's are Compose's."""
        return (*SERVICES, VALKEY) if self._settings.has_valkey else SERVICES

    def restart_api(self) -> None:
        """Stop and start uvicorn; it reads the code on disk."""
        with self._supervisor() as supervisor:
            if self._state(API)["statename"] in RUNNING_STATES:
                supervisor.stopProcess(API)
        deadline = time.monotonic() + self._settings.up_deadline_s
        self._start(API, deadline)

    def debug(self, *, is_on: bool) -> None:
        """Restart uvicorn, under the debugger or not, as images/entrypoint.sh finds the mark."""
        if not is_on:
            self._debug_mark.unlink(missing_ok=True)
        elif not self.is_debugged():
            require_free_ports({"DEBUG_PORT": self._settings.debug_port}, lambda port: None)
            self._debug_mark.touch()
        self.restart_api()

    def is_debugged(self) -> bool:
        """Whether the debugger is on."""
        return self._debug_mark.exists()

    def debug_ray(self) -> int:
        """On this machine."""
        return self._run_python("scripts.debug_ray", [])

    def bootstrap(self) -> int:
        """Run it in the foreground."""
        return self.run_module(BOOTSTRAP, "seedcore.bootstrap", [])

    def run_module(self, service: str, module: str, arguments: list[str], *, stdout: IO[bytes] | None = None) -> int:
        """Run it on this machine, with the stack's settings; all services have the same here."""
        return self._run_python("scripts.run_module", [module, *arguments], stdout=stdout)

    def run_with_state(self, module: str, arguments: list[str], *, stdin: IO[bytes], stdout: IO[bytes] | None) -> int:
        """Run it on this machine."""
        return self._run_python(module, arguments, stdin=stdin, stdout=stdout)

    def _run_python(
        self, module: str, arguments: list[str], stdin: IO[bytes] | None = None, stdout: IO[bytes] | None = None
    ) -> int:
        command = [sys.executable, "-m", module, *arguments]
        environment = self._environment
        return subprocess.run(
            command, cwd=PROJECT_ROOT, env=environment, check=False, stdin=stdin, stdout=stdout
        ).returncode

    def logs(self, service: str | None, *, follow: bool, actor: str | None) -> int:
        """Show the log files."""
        files = sorted(self._log_dir.glob(f"{service or ''}*.log"))
        if not files:
            raise StackError(f"no log of {service or 'any service'} in {relative(self._log_dir)}. See `make ps`.")
        lines = ["--quiet", "--lines=+1"] if actor else [f"--lines={LOG_LINES}"]
        return show_log(["tail", *lines, *(["--follow=name", "--retry"] if follow else []), *map(str, files)], actor)

    def save_logs(self, service: str, output: IO[bytes]) -> None:
        """From the log files."""
        for file in sorted(self._log_dir.glob(f"{service}*.log")):
            output.write(file.read_bytes())

    def ps(self, *, stdout: IO[bytes] | None = None) -> int:
        """Show each program's state."""
        lines = [f"{'SERVICE':<16}{'STATE':<10}DETAILS"]
        for process in self._states():
            if process["group"] != WORKER or process["statename"] != "STOPPED":
                service = _display_name(process)
                lines.append(f"{service:<16}{process['statename'].lower():<10}{process['description']}")
        table = "\n".join(lines)
        if stdout is None:
            print(table)
        else:
            stdout.write(table.encode())
        return 0

    def failures(self) -> list[ServiceFailure]:
        """Those that ended with an error, or run without being healthy."""
        return [self._failure(process) for process in self._states() if self._is_in_trouble(process)]

    def outdated_services(self) -> list[str]:
        """All of them, or none: they have one environment."""
        return list(SERVICES) if self._running_environment() != self._fingerprint() else []

    def shell(self) -> int:
        """Open bash with the stack's settings."""
        environment = {**self._environment, "PS1": r"(seedcore) \w\$ "}
        return subprocess.run(["bash", "--norc"], cwd=PROJECT_ROOT, env=environment, check=False).returncode

    def scale(self, workers: int) -> None:
        """Start or stop workers, the highest number first."""
        self._start_workers(workers, time.monotonic() + self._settings.up_deadline_s)

    def _make_environment(self) -> dict[str, str]:
        return {
            **environment_for_stack(),
            **own_variables(),
            **process_environment(self._settings),
            **ray_environment(self._settings),
            "RUNTIME": self.name,
            "RAY_ADDRESS": self._settings.head_address,
            "CLUSTER_HEAD": self._settings.cluster_head,
            "STATE_DIR": str(self._state_dir),
            "MEMORY_URL": self._memory_url(),
            "VALKEY_PORT": str(self._settings.valkey_port),
            "PATH": f"{Path(sys.executable).parent}:{os.environ.get('PATH', os.defpath)}",
            "PYTHONPATH": f"{PROJECT_ROOT}:{STARTUP}",
            "PYTHONUNBUFFERED": "1",
            "RAY_TMPDIR": str(self._run_dir),
            "RAY_CLIENT_ADDRESS": f"ray://{LOOPBACK}:{self._settings.ray_client_port}",
            "GCS_DIR": str(self._run_dir / "gcs"),
        }

    def _memory_url(self) -> str:
        """`MEMORY_URL`; the service of that name is on this machine."""
        url = self._settings.memory_url
        if not (self._settings.has_valkey and self._settings.uses_own_valkey):
            return url
        parts = urlsplit(url)
        login, at, _ = parts.netloc.rpartition("@")
        return parts._replace(netloc=f"{login}{at}{LOOPBACK}:{self._settings.valkey_port}").geturl()

    def _fingerprint(self) -> str:
        """Of all that the processes were started with, and would not notice when it changes."""
        knobs = sorted((own_variables() | process_environment(self._settings)).items())
        token = self._settings.ray_auth_token_path.read_text() if self._has_token else ""
        valkey = (self._memory_url(), self._settings.has_valkey, self._settings.valkey_port)
        locks = [PROJECT_ROOT / name for name in ("requirements.lock", "app/requirements.lock")]
        locked = [lock.read_text() for lock in locks if lock.exists()]
        return hashlib.sha256(
            f"{knobs}\n{token}\n{valkey}\n{self._settings.ray_temp_dir}\n{locked}".encode()
        ).hexdigest()

    @property
    def _has_token(self) -> bool:
        return self._settings.ray_auth_mode is AuthMode.TOKEN

    def _running_environment(self) -> str:
        try:
            return (self._run_dir / "settings").read_text()
        except FileNotFoundError:
            return ""

    def require_free_ports(self) -> None:
        """Those of all processes."""
        settings = self._settings
        ports = {}
        if settings.cluster_address:
            interface_of(settings)
        if not settings.cluster_head:
            ports = {
                "RAY_ADDRESS": int(settings.ray_address.rpartition(":")[2]),
                "RAY_CLIENT_PORT": settings.ray_client_port,
                "RAY_AGENT_PORT": self._agent_port(HEAD),
                "DASHBOARD_PORT": settings.dashboard_port,
                "API_PORT": settings.api_port,
            }
        if settings.has_valkey:
            ports["VALKEY_PORT"] = settings.valkey_port
        for number in range(1, settings.ray_worker_replicas + 1):
            ports[f"RAY_AGENT_PORT + {number}"] = self._agent_port(WORKER, number)
        require_free_ports(ports, lambda port: None, self._own_ports())

    def _own_ports(self) -> set[int]:
        """Those that what runs of this stack listens at."""
        ours = {process.pid for process in self._processes()}
        try:
            return {one.laddr.port for one in psutil.net_connections("tcp") if one.pid in ours and one.laddr}
        except psutil.Error:  # where only root may ask
            return set()

    def _agent_port(self, service: str, worker: int = 0) -> int:
        """Of a node, which answers there whether it is well."""
        if self._settings.cluster_address:
            return ports_of_node(self._settings, service, worker)[0]
        return self._settings.ray_agent_port + worker

    def _start_supervisord(self) -> None:
        self._remove_run_dir()  # of a stack that was killed
        _make_private_folder(self._run_dir)
        (self._run_dir / "gcs").mkdir()
        if self._settings.ray_temp_dir:
            self._link_ray_dir(Path(self._settings.ray_temp_dir).expanduser())
        (self._run_dir / "settings").write_text(self._fingerprint())
        command = [sys.executable, "-m", "supervisor.supervisord", "--configuration", "supervisord.conf"]
        environment = {**self._environment, RUN_DIR: str(self._run_dir), "STACK_LOG_DIR": str(self._log_dir)}
        started = subprocess.run(
            command, cwd=PROJECT_ROOT, env=environment, check=False, capture_output=True, text=True
        )
        deadline = time.monotonic() + self._settings.up_deadline_s
        while started.returncode == 0 and not self.is_up() and time.monotonic() < deadline:
            time.sleep(POLL_S)
        if not self.is_up():
            raise StackError(
                f"supervisord did not start: {started.stderr.strip() or started.stdout.strip()}\n"
                f"See {relative(self._log_dir)}/supervisord.log, then `make up` again."
            )

    def _link_ray_dir(self, chosen: Path) -> None:
        """Have Ray write below the folder that RAY_TEMP_DIR names, by the short path that its sockets need."""
        folder = chosen / self._run_dir.name
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise StackError(f"RAY_TEMP_DIR={chosen}: cannot make the folder {folder}: {error}.") from error
        self._ray_dir.symlink_to(folder)

    def _remove_run_dir(self) -> None:
        if self._ray_dir.is_symlink():
            shutil.rmtree(self._ray_dir.readlink(), ignore_errors=True)
        shutil.rmtree(self._run_dir, ignore_errors=True)

    def _start_workers(self, wanted: int, deadline: float) -> None:
        with self._supervisor() as supervisor:
            for number in range(MAX_WORKERS, wanted, -1):
                if self._state(f"{WORKER}:{number}")["statename"] in RUNNING_STATES:
                    print(f"{WORKER}-{number}: stopping")
                    supervisor.stopProcess(f"{WORKER}:{number}")
        for number in range(1, wanted + 1):
            self._start(f"{WORKER}:{number}", deadline)

    def _start(self, program: str, deadline: float) -> None:
        """Start a program unless it runs, and wait for the condition that the next one depends on."""
        began = time.monotonic()
        shown = program.replace(":", "-")
        self._log_dir.mkdir(parents=True, exist_ok=True)
        with self._supervisor() as supervisor:
            if self._state(program)["statename"] not in RUNNING_STATES:
                print(f"{shown}: starting")
                self._log_before(shown).write_text(str(_size(self._log_dir / f"{shown}.log")))
                supervisor.startProcess(program, False)
        starts: set[int] = set()
        while True:
            process = self._state(program)
            starts.add(process["start"])
            failed = process["statename"] in ("FATAL", "EXITED", "STOPPED", "UNKNOWN")
            if self._is_done(program) and not (failed and process["exitstatus"]):
                break
            if failed or len(starts) > CRASH_LOOP_STARTS or time.monotonic() > deadline:
                raise StackError(explain_failures(map(self._failure, self._troubled(process))))
            time.sleep(POLL_S)
        outcome = "done" if program == BOOTSTRAP else "healthy"
        print(f"{shown}: {outcome} after {time.monotonic() - began:.1f} s")

    def _troubled(self, process: dict[str, Any]) -> list[dict[str, Any]]:
        """This one, after those that may be its reason."""
        others = [other for other in self._states() if other["statename"] in ("BACKOFF", "FATAL")]
        return [*(other for other in others if other["name"] != process["name"]), process]

    def _is_in_trouble(self, process: dict[str, Any]) -> bool:
        match process["statename"]:
            case "RUNNING":
                return not self._is_done(_program(process))
            case "EXITED":
                return bool(process["exitstatus"])
        return process["statename"] in ("BACKOFF", "FATAL")

    def _failure(self, process: dict[str, Any]) -> ServiceFailure:
        if process["statename"] == "RUNNING":
            what = f"runs, but is not healthy (`make up` waits UP_DEADLINE_S={self._settings.up_deadline_s:g} for it)"
        else:
            what = ENDED.get(process["statename"], process["statename"].lower()).format(process["exitstatus"])
        return ServiceFailure(_display_name(process), what, tuple(self._last_lines(process)))

    def _log_before(self, shown: str) -> Path:
        """Says how many bytes a program's log had when it was last started."""
        return self._run_dir / f"{shown}.log_before"

    def _last_lines(self, process: dict[str, Any]) -> Iterator[str]:
        log, before = Path(process["stdout_logfile"]), self._log_before(_display_name(process))
        if log.exists():
            with log.open(errors="replace") as file:
                since = int(before.read_text()) if before.exists() else 0
                file.seek(since if since <= _size(log) else 0)  # it may have been rotated
                yield from (line.rstrip("\n") for line in deque(file, LOG_LINES_SHOWN))

    def _is_done(self, program: str) -> bool:
        """Whether what waits for the program may start."""
        service, _, number = program.partition(":")
        if service == BOOTSTRAP:
            return bool(self._state(program)["statename"] == "EXITED")
        if service == API:
            return is_api_ready(self._settings.api_port)
        if service == VALKEY:
            return self._succeeds("images/valkey/start.sh", "health")
        port = str(self._agent_port(service, int(number or 0)))
        return self._succeeds("images/healthcheck.sh", LOOPBACK, port, NODE_HEALTH_PATH)

    def _succeeds(self, *probe: str) -> bool:
        done = subprocess.run(probe, cwd=PROJECT_ROOT, env=self._environment, check=False, capture_output=True)
        return done.returncode == 0

    def _state(self, program: str) -> dict[str, Any]:
        with self._supervisor() as supervisor:
            state: dict[str, Any] = supervisor.getProcessInfo(program)
        return state

    def _states(self) -> list[dict[str, Any]]:
        if not self.is_up():
            return []
        with self._supervisor() as supervisor:
            states: list[dict[str, Any]] = supervisor.getAllProcessInfo()
        return states

    @contextmanager
    def _supervisor(self) -> Iterator[Any]:
        transport = SupervisorTransport(None, None, f"unix://{self._run_dir}/supervisor.sock")
        with xmlrpc.client.ServerProxy("http://127.0.0.1", transport=transport) as proxy:
            try:
                yield proxy.supervisor
            except xmlrpc.client.Fault as fault:
                if fault.faultCode == Faults.SHUTDOWN_STATE:
                    raise _ShuttingDownError("the stack is just stopping. Try again in some seconds.") from fault
                if fault.faultCode not in (Faults.ALREADY_STARTED, Faults.NOT_RUNNING):
                    raise StackError(f"supervisord refused: {fault.faultString}. See `make ps`.") from fault

    def _kill_leftovers(self) -> None:
        """Kill what has outlived its supervisord and may hold the ports."""
        leftovers = self._processes()
        for process in leftovers:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(leftovers, STOP_DEADLINE_S)

    def _processes(self) -> list[psutil.Process]:
        """The last supervisord, and what it has started."""
        session = self._supervisord_session()
        return [process for process in psutil.process_iter() if self._is_ours(process, session)]

    def _supervisord_session(self) -> int | None:
        """The session of all processes of the last supervisord; its id is taken as long as one of them lives."""
        pid_file = self._run_dir / "supervisord.pid"
        try:
            session = int(pid_file.read_text())
            if pid_file.stat().st_mtime < psutil.boot_time():
                return None
        except (FileNotFoundError, ValueError):
            return None
        with suppress(psutil.NoSuchProcess):
            leader = psutil.Process(session)
            if leader.status() != psutil.STATUS_ZOMBIE and not self._is_ours(leader, None):
                return None  # another program has the number now
        return session

    def _is_ours(self, process: psutil.Process, session: int | None) -> bool:
        try:
            # Ray's processes write their titles over their environments, so the session is asked as well.
            return process.environ().get(RUN_DIR) == str(self._run_dir) or os.getsid(process.pid) == session
        except (psutil.Error, OSError):  # it has ended, or is another user's
            return False

    def _wait_until_gone(self, pid: int) -> None:
        deadline = time.monotonic() + STOP_DEADLINE_S
        while _lives(pid):
            if time.monotonic() > deadline:
                raise StackError(
                    f"supervisord (process {pid}) did not stop in {STOP_DEADLINE_S} s. `kill {pid}`, then `make down`."
                )
            time.sleep(POLL_S)


def _display_name(process: dict[str, Any]) -> str:
    return str(process["group"] if process["group"] == process["name"] else f"{process['group']}-{process['name']}")


def _program(process: dict[str, Any]) -> str:
    """Its name for supervisord."""
    return str(process["name"] if process["group"] == process["name"] else f"{process['group']}:{process['name']}")


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE  # which its parent may leave there for ever
    except psutil.NoSuchProcess:
        return False


def _stores(state_dir: Path) -> Iterator[Path]:
    # Those as well that `scripts.store_archive` has set aside, or left when it was killed.
    for folder in ("*", "*.before-restore-*/*", ".backup-*/*", ".restore-*/*"):
        yield from state_dir.glob(f"{folder}/*.sqlite3*")


def _remove_stores(state_dir: Path) -> None:
    """Delete the stores and nothing else: STATE_DIR may be a folder with other files in it."""
    for path in _stores(state_dir):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _make_private_folder(path: Path) -> None:
    """A folder in /tmp that is ours alone, even if somebody else tries to be there first."""
    try:
        path.mkdir(mode=0o700, exist_ok=True)
        found = path.lstat()
    except OSError as error:
        raise StackError(f"cannot make the folder {path}: {error}. Remove it, then `make up`.") from error
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or stat.S_IMODE(found.st_mode) != 0o700:
        raise StackError(f"{path} is not a private folder of yours. Remove it, then `make up`.")
