"""The stack on Docker Compose: `docker compose` does the work, the engine's SDK says how it went."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import IO, Any, Final
from uuid import uuid4

import docker
from docker.errors import APIError, NotFound
from docker.models.containers import Container
from docker.types import Mount
from docker.utils import parse_repository_tag
from docker.utils.config import load_general_config

from scripts.host.ca_certificates import copy_extra_ca_certificates
from scripts.host.cluster_network import interface_of, ports_of_node
from scripts.host.docker_engine import base_image_in_place_of, has_image, no_base_image
from scripts.host.image_build import build_image
from scripts.host.ports import require_free_ports
from scripts.host.remedies import explain_failures, is_known, remedy_for_text
from scripts.host.runtime import (
    API,
    BOOTSTRAP,
    HEAD,
    LOCAL_DIR,
    LOG_LINES,
    LOG_LINES_SHOWN,
    POLL_S,
    PROMETHEUS,
    SERVICES,
    VALKEY,
    WITHOUT_YOURS,
    WORKER,
    ServiceFailure,
    StackError,
    captured,
    is_api_ready,
    require_good_code,
    show_log,
)
from scripts.host.settings import HostSettings, env_files, set_knobs
from seedcore.errors import EXIT_ONLY_YOURS
from seedcore.settings import PROJECT_ROOT, AuthMode

LOOK_AGAIN_S: Final = 45.0  # above interval and timeout of the health checks in compose.yaml
CRASH_LOOP_RESTARTS: Final = 3  # so often started again, a service will not come up any more
KEPT_RUNNING: Final = (HEAD, WORKER, API, PROMETHEUS, VALKEY)
# Ends each process that has the variable `$0`.
END_MARKED: Final = (
    'for process in /proc/[0-9]*; do ! grep -qszxF "$0" "$process/environ" || kill "${process##*/}"; done'
)
COMPOSE_FILES: Final = ("compose.yaml", "compose.override.yaml")
DEBUG_FILE: Final = "images/debug.yaml"
CLUSTER_FILE: Final = "images/cluster.yaml"  # others can join
JOINED_FILE: Final = "images/joined.yaml"  # this machine has joined
SECRETS: Final = "/run/secrets/"  # where Compose mounts them
PROJECT_LABEL: Final = "com.docker.compose.project"
FOLDER_LABEL: Final = "com.docker.compose.project.working_dir"
VOLUME_LABEL: Final = "com.docker.compose.volume"
SERVICE_LABEL: Final = "com.docker.compose.service"
NUMBER_LABEL: Final = "com.docker.compose.container-number"
DEBUG_RAY: Final = ("python3", "-m", "scripts.debug_ray")


class DockerRuntime:
    """Runs compose.yaml."""

    name = "docker"

    def __init__(self, settings: HostSettings, client: docker.DockerClient) -> None:
        self._settings = settings
        self._client = client
        self._label = f"{PROJECT_LABEL}={settings.compose_project_name}"
        self._debug_mark = LOCAL_DIR / "debug" / settings.compose_project_name  # there while the debugger is on
        self._environment = self._make_environment()

    def prepare(self) -> None:
        """Build the image."""
        self.require_free_ports()
        copy_extra_ca_certificates(self._settings.extra_ca_certs)
        self._environment["BASE_IMAGE"] = base = self._base_image()
        self._require_visible_checkout(base)
        build_image({"COMPOSE_FILE": _compose_files(), **self._environment})

    def up(self, changes: Callable[[], None] = lambda: None) -> None:
        """Build, start, wait until healthy."""
        if any(map(self._has_other_token, self._containers())):
            print("a service has another token than the file: starting afresh")
            self.down(remove_state=False)
        self.prepare()
        if self._settings.cluster_head:
            self._up("--no-deps", WORKER, changes=changes)
            return
        if self.is_up():
            try:
                require_good_code(self)
            except StackError:
                self._name_image_that_runs()
                raise
        self._up("--remove-orphans", changes=changes)  # of services that the Compose files have no more

    def _name_image_that_runs(self) -> None:
        """Take the image's name from one that nothing may run from, since what runs goes on."""
        repository, tag = parse_repository_tag(self._settings.image)
        for container in self._containers():
            if container.labels[SERVICE_LABEL] == API and container.image is not None:
                container.image.tag(repository, tag)

    def down(self, *, remove_state: bool) -> None:
        """Remove the containers, and the volumes with `remove_state`."""
        # Of all profiles: Compose leaves alone what it was not told of.
        self._debug_mark.unlink(missing_ok=True)
        self._compose_or_fail("--profile=*", "down", "--remove-orphans", *(["--volumes"] if remove_state else []))

    def is_up(self) -> bool:
        """Whether a container of a long-running service runs; Prometheus alone is no stack."""
        return any(
            container.status in ("running", "restarting") and container.labels[SERVICE_LABEL] in SERVICES
            for container in self._containers()
        )

    def has_items(self) -> bool:
        """Whether the volume is there."""
        return any(
            self._client.volumes.list(filters={"label": [self._label, f"{VOLUME_LABEL}={volume}"]})
            for volume in ("state", VALKEY)
        )

    def engine(self) -> tuple[str, str]:
        """Its address, and the id that it made when it was installed."""
        return str(self._client.api.base_url), str(self._client.info()["ID"])

    def require_own(self) -> None:
        """Refuse to meddle with a stack of the same name that runs from another folder.

        Raises:
            StackError: there is one. A folder that is gone was moved to here, as far as can be told.
        """
        folders = {Path(container.labels.get(FOLDER_LABEL, PROJECT_ROOT)) for container in self._containers()}
        if others := [folder for folder in folders if _is_another_checkout(folder)]:
            raise StackError(
                f"the stack '{self._settings.compose_project_name}' belongs to {others[0]}, where `make down` ends it. "
                "For another one beside it set COMPOSE_PROJECT_NAME, API_PORT and DASHBOARD_PORT in this folder's .env."
            )

    def services(self) -> tuple[str, ...]:
        """What compose.yaml and compose.override.yaml have, and what still runs of an earlier one."""
        return tuple(sorted(sorted(self._declared_services() | self._present_services()), key=self._position))

    def _declared_services(self) -> set[str]:
        command = ["docker", "compose", "--profile=*", "config", "--services"]
        done = subprocess.run(command, cwd=PROJECT_ROOT, env=self._environment, check=False, capture_output=True)
        if done.returncode:
            raise StackError(f"`{' '.join(command)}` failed: {done.stderr.decode().strip()}")
        return {*done.stdout.decode().split()}

    def _present_services(self) -> set[str]:
        return {container.labels[SERVICE_LABEL] for container in self._containers()}

    def restart_api(self) -> None:
        """Restart the container; it reads the code on disk."""
        # --no-deps: not the services that it depends on.
        self._compose_or_fail("restart", "--no-deps", API)
        self._up("--no-recreate", "--no-deps", API)

    def debug(self, *, is_on: bool) -> None:
        """Make the container anew, with images/debug.yaml or without it."""
        if not is_on:
            self._debug_mark.unlink(missing_ok=True)
        elif not self.is_debugged():
            require_free_ports({"DEBUG_PORT": self._settings.debug_port}, self._owner)
            self._debug_mark.parent.mkdir(parents=True, exist_ok=True)
            self._debug_mark.touch()
        self._environment = self._make_environment()
        # As many as `make scale` made of those that it depends on.
        workers = [one for one in self._containers() if one.labels[SERVICE_LABEL] == WORKER]
        self._environment["RAY_WORKER_REPLICAS"] = str(max(1, len(workers)))
        # With the services that it depends on, as `make up` makes it; else Compose would take it for another later.
        self._compose_or_fail("rm", "--stop", "--force", API)
        self._up("--no-recreate", API)
        deadline = time.monotonic() + self._settings.up_deadline_s
        while not is_api_ready(self._settings.api_port):
            if time.monotonic() > deadline:
                raise StackError(f"{API} is not ready. `make logs S={API}`; `make debug OFF=1` ends the debugger.")
            time.sleep(POLL_S)

    def is_debugged(self) -> bool:
        """Whether the debugger is on."""
        return self._debug_mark.exists()

    def debug_ray(self) -> int:
        """In the container where somebody waits, since Ray's debugger listens on its loopback; else in a worker's."""
        code, hosts = captured(lambda out: self._compose("exec", "-T", WORKER, *DEBUG_RAY, "--hosts", stdout=out))
        if code:
            return 1
        where = [WORKER]
        for host in hosts.decode().split()[:1]:
            for container in self._containers():
                if container.id.startswith(host):
                    print(f"This terminal is in {container.name}.", flush=True)
                    where = [f"--index={container.labels[NUMBER_LABEL]}", container.labels[SERVICE_LABEL]]
        return self._compose("exec", *_terminal(), *where, *DEBUG_RAY)

    def bootstrap(self) -> int:
        """Start the bootstrap container once more."""
        return self._compose("run", "--rm", "--no-deps", "-T", BOOTSTRAP)

    def run_module(self, service: str, module: str, arguments: list[str], *, stdout: IO[bytes] | None = None) -> int:
        """Run it in the running container."""
        terminal = _terminal() if stdout is None else ["-T"]
        mark = f"SEEDCORE_RUN={uuid4().hex}"
        program = ["python3", "-m", "scripts.run_module", module, *arguments]
        try:
            return self._compose("exec", *terminal, f"--env={mark}", service, *program, stdout=stdout)
        except KeyboardInterrupt:
            # Without a terminal only Compose ends, and the program would go on and hold its CPUs.
            self._compose("exec", "-T", service, "bash", "-c", END_MARKED, mark)
            raise

    def run_with_state(self, module: str, arguments: list[str], *, stdin: IO[bytes], stdout: IO[bytes] | None) -> int:
        """Run it in a worker container of its own, which has the volume."""
        command = ["run", "--rm", "--no-deps", "--no-TTY", "--entrypoint=python3", WORKER, "-m", module, *arguments]
        return self._compose(*command, stdin=stdin, stdout=stdout)

    def logs(self, service: str | None, *, follow: bool, actor: str | None) -> int:
        """Show Compose's logs."""
        command = ["docker", "compose", "logs", f"--tail={'all' if actor else LOG_LINES}"]
        command += [*(["--follow"] if follow else []), *([service] if service else [])]
        return show_log(command, actor, self._environment)

    def save_logs(self, service: str, output: IO[bytes]) -> None:
        """From Compose; Docker keeps the last ones."""
        self._compose("--profile=*", "logs", "--no-color", "--timestamps", service, stdout=output)

    def ps(self, *, stdout: IO[bytes] | None = None) -> int:
        """Show Compose's table."""
        columns = "table {{.Name}}\t{{.Service}}\t{{.Status}}\t{{.Ports}}"
        return self._compose("ps", "--all", "--format", columns, stdout=stdout)

    def outdated_services(self) -> list[str]:
        """Compose knows which containers it would make anew, but of the token only where its file is."""
        # Those that are there, whatever profile they are of; one that is not would have what depends on it made anew.
        present, declared = self._present_services(), self._declared_services()
        command = ["docker", "compose", "--dry-run", "create", "--no-build", *sorted(present & declared)]
        done = subprocess.run(
            command, cwd=PROJECT_ROOT, env=self._environment, check=False, capture_output=True, text=True
        )
        if done.returncode:
            raise StackError(
                f"`{' '.join(command)}` failed: {done.stderr.strip()}. Correct compose.override.yaml or .env."
            )
        anew = set(re.findall(r"Container (\S+)\s+Recreate$", done.stdout + done.stderr, re.MULTILINE))
        changed = {
            container.labels[SERVICE_LABEL]
            for container in self._containers()
            if container.name in anew or self._has_other_token(container)
        }
        # Bootstrap's has the id of the head's container in it, and it has ended anyway.
        return sorted((changed | (present - declared)) - {BOOTSTRAP}, key=self._position)

    def shell(self) -> int:
        """Open bash in the API's container."""
        return self._compose("exec", *_terminal(), API, "bash")

    def _require_one_worker(self, workers: int) -> None:
        if self._settings.cluster_address and workers > 1:
            raise StackError(
                "of several machines each has one ray-worker on Docker: set RAY_WORKER_REPLICAS=1 and raise "
                "RAY_WORKER_CPUS."
            )

    def scale(self, workers: int) -> None:
        """Add or remove worker containers, and touch nothing else."""
        self._require_one_worker(workers)
        self._environment["RAY_WORKER_REPLICAS"] = str(workers)
        self._up("--no-recreate", "--no-deps", WORKER)

    def _make_environment(self) -> dict[str, str]:
        return {
            **os.environ,
            **set_knobs(self._settings, with_secrets=True),
            "COMPOSE_PROJECT_NAME": self._settings.compose_project_name,
            "HEAD_ADDRESS": self._settings.head_address,
            "EXCEPT_FROM_PROXY": _no_proxy() or "localhost",
            **({"COMPOSE_FILE": ":".join((_compose_files(), *added))} if (added := self._added_files()) else {}),
        }

    def _added_files(self) -> list[str]:
        """What lies over compose.yaml, since a knob or a verb says so."""
        files = []
        if self._settings.cluster_head:
            files.append(JOINED_FILE)
        elif self._settings.cluster_address:
            files.append(CLUSTER_FILE)
        return files + ([DEBUG_FILE] if self.is_debugged() else [])

    def _has_other_token(self, container: Container) -> bool:
        """Whether it was started with another token than the file has now. Compose does not notice that: it would let
        the container run, with the old file, until Docker starts it again with the new one.
        """
        path = self._settings.ray_auth_token_path
        if self._settings.ray_auth_mode is not AuthMode.TOKEN or not path.exists():
            return False
        found = _token_of(container)
        return found is not None and found.strip() != path.read_text().strip()

    def _up(self, *arguments: str, changes: Callable[[], None] = lambda: None) -> None:
        deadline = round(self._settings.up_deadline_s)
        was_unhealthy = self._wait_for_another_look()
        code = self._compose_up(deadline, arguments, changes)
        if code and was_unhealthy:  # of what bootstrap may just have mended
            self._wait_for_another_look()
            code = self._compose_up(deadline, arguments, changes)
        if code:
            failures = self._failures(lambda container, failure: True)
            if self._has_ended_with(BOOTSTRAP, EXIT_ONLY_YOURS):
                self._compose("up", "--detach", "--no-build", "--no-recreate", "--no-deps", API)
                raise StackError(f"{explain_failures(failures)}\n{WITHOUT_YOURS}")
            if failures:
                raise StackError(explain_failures(failures))
            raise StackError(
                remedy_for_text(self._why_not_created())
                or f"docker compose failed as it says above, or was not done within UP_DEADLINE_S={deadline}. "
                "`make doctor` looks for the cause, `make ps` and `make logs` show more; then `make up` again."
            )

    def _compose_up(self, deadline: int, arguments: Sequence[str], changes: Callable[[], None]) -> int:
        before = self._restarts()  # of crashes that are long past
        command = ["docker", "compose", "up", "--detach", "--no-build", "--wait", f"--wait-timeout={deadline}"]
        with subprocess.Popen([*command, *arguments], cwd=PROJECT_ROOT, env=self._environment) as compose:
            try:
                while compose.poll() is None:
                    # Compose itself would go on waiting for a service that is restarted again and again.
                    restarts = {name: number - before.get(name, 0) for name, number in self._restarts().items()}
                    if any(number >= CRASH_LOOP_RESTARTS for number in restarts.values()):
                        compose.terminate()
                        break
                    time.sleep(POLL_S)
            except KeyboardInterrupt:
                compose.send_signal(signal.SIGINT)
                compose.wait()
                raise
            finally:
                if self._restarts().keys() != before.keys():
                    changes()
        return compose.returncode

    def _has_ended_with(self, service: str, code: int) -> bool:
        found = [one for one in self._containers() if one.labels[SERVICE_LABEL] == service]
        return any(one.status == "exited" and one.attrs["State"]["ExitCode"] == code for one in found)

    def _why_not_created(self) -> str:
        """What Compose says when it makes the containers, which nobody could read on its way to the terminal."""
        command = ["docker", "compose", "create", "--no-build"]
        return subprocess.run(
            command, cwd=PROJECT_ROOT, env=self._environment, check=False, capture_output=True, text=True
        ).stderr

    def _wait_for_another_look(self) -> bool:
        """Let Docker look once more at what it found unhealthy: it may be well by now, and Compose gives up at once.

        Whether something still is.
        """
        until = time.monotonic() + LOOK_AGAIN_S
        while time.monotonic() < until:
            unhealthy = [container for container in self._containers() if _is_unhealthy(container)]
            if not unhealthy:
                return False
            if until - time.monotonic() > LOOK_AGAIN_S - POLL_S:
                print(f"waiting for Docker's next look at {', '.join(str(container.name) for container in unhealthy)}")
            time.sleep(POLL_S)
        return True

    def failures(self) -> list[ServiceFailure]:
        """All that are not well, but for those that start for the first time and have nothing to complain of."""
        return self._failures(lambda container, failure: is_known(failure) or not _starts_first(container))

    def _failures(self, counts: Callable[[Container, ServiceFailure], bool]) -> list[ServiceFailure]:
        """The services that did not come up; those that only waited for another are not among them."""
        failures = []
        for container in self._containers():
            failure = _failure(container)
            if failure is not None and counts(container, failure):
                failures.append(failure)
        # Those that have ended first: others may only be waiting, or have been called off.
        return sorted(failures, key=lambda failure: (failure.state.startswith("is "), self._position(failure.service)))

    @staticmethod
    def _position(service: str) -> int:
        """Ours first, in the order of their start."""
        return SERVICES.index(service) if service in SERVICES else len(SERVICES)

    def _containers(self) -> list[Container]:
        # ignore_removed: a container may go between the list and the look at it.
        listed: list[Container] = self._client.containers.list(
            all=True, ignore_removed=True, filters={"label": self._label}
        )
        return [container for container in listed if SERVICE_LABEL in container.labels]

    def _restarts(self) -> dict[str, int]:
        """How often Docker has started each container again, by its id."""
        return {str(container.id): int(container.attrs.get("RestartCount", 0)) for container in self._containers()}

    def require_free_ports(self) -> None:
        """Those that are published on this machine."""
        settings = self._settings
        if not self._client.api.base_url.startswith("http+docker://"):
            return  # an engine on another machine, whose ports cannot be tried from here
        ports = {"API_PORT": settings.api_port, "DASHBOARD_PORT": settings.dashboard_port}
        if settings.has_prometheus:
            ports["PROMETHEUS_PORT"] = settings.prometheus_port
        if settings.cluster_address:
            interface_of(settings)
            if self.is_up():  # on the network of this machine, where nobody can tell whose a port is
                return
            self._require_one_worker(settings.ray_worker_replicas)
            ports = (
                {}
                if settings.cluster_head
                else {
                    **ports,
                    "RAY_ADDRESS": int(settings.head_address.rpartition(":")[2]),
                    "RAY_CLIENT_PORT": settings.ray_client_port,
                }
            )
            for service in (WORKER,) if settings.cluster_head else (HEAD, API, WORKER):
                ports |= {f"CLUSTER_PORTS of {service}": ports_of_node(settings, service)[0]}
        ours = {port for container in self._containers() for port in _published(container)}
        require_free_ports(ports, self._owner, ours)

    def _owner(self, port: int) -> str | None:
        for container in self._client.containers.list(ignore_removed=True):
            if port in _published(container):
                project = container.labels.get(PROJECT_LABEL)
                return f"container {container.name}" + (f" of the stack '{project}'" if project else "")
        return None

    def _base_image(self) -> str:
        wanted = self._settings.base_image
        if has_image(self._client, wanted):
            return wanted
        print(f"pulling the base image {wanted}")
        # Its progress is shown; why it failed is of interest only if there is no other image.
        pull = subprocess.run(["docker", "pull", wanted], check=False, stderr=subprocess.PIPE, text=True)
        if pull.returncode == 0:
            return wanted
        other = base_image_in_place_of(self._client, wanted)
        if other is None:
            raise no_base_image(wanted, pull.stderr.strip())
        print(f"{wanted} cannot be pulled; building on {other}, which is on this machine")
        return other

    def _require_visible_checkout(self, image: str) -> None:
        """Refuse to build for an engine that could mount nothing of this folder."""
        seen = Mount("/seen", str(PROJECT_ROOT / COMPOSE_FILES[0]), type="bind", read_only=True)
        try:
            self._client.containers.create(image, ["true"], mounts=[seen]).remove()
        except APIError as error:
            remedy = remedy_for_text(str(error))
            raise StackError(f"{remedy}. {error.explanation}" if remedy else str(error)) from error

    def _compose(self, *arguments: str, stdin: IO[bytes] | None = None, stdout: IO[bytes] | None = None) -> int:
        command = ("docker", "compose", *arguments)
        environment = self._environment
        return subprocess.run(
            command, cwd=PROJECT_ROOT, env=environment, check=False, stdin=stdin, stdout=stdout
        ).returncode

    def _compose_or_fail(self, *arguments: str) -> None:
        if self._compose(*arguments):
            raise StackError(f"`docker compose {' '.join(arguments)}` failed as it says above. See `make ps`.")


def _is_another_checkout(folder: Path) -> bool:
    """Whether a stack that runs from there is not this folder's. One that nobody may look into is another user's."""
    try:
        (folder / COMPOSE_FILES[0]).stat()
        return not folder.samefile(PROJECT_ROOT)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True


def _failure(container: Container) -> ServiceFailure | None:
    """Why it is not healthy; None if it is, or if it never started or is done."""
    state = container.attrs["State"]
    service = container.labels[SERVICE_LABEL]
    health = state.get("Health", {})
    if state["Status"] == "created" or (health.get("Status") == "healthy" and not state.get("Paused")):
        return None
    if state["Status"] == "running" and not health:
        if service != BOOTSTRAP:  # one of the user's, without a health check
            return None
        what = "still runs"
    elif state["Status"] == "paused":
        what = "is paused"
    elif state["Status"] == "running":
        probes = [probe["Output"].strip() for probe in health.get("Log") or []]
        what = f"is {health['Status']}, health check: {probes[-1] if probes else 'not run yet'}"
    elif service not in KEPT_RUNNING and state["ExitCode"] == 0:
        return None  # it is done
    else:
        what = f"{state['Status']} with exit code {state['ExitCode']}"
        what += ", killed for lack of memory (OOM)" if state.get("OOMKilled") else ""
        what += f", {state['Error']}" if state.get("Error") else ""
    log = container.logs(tail=LOG_LINES_SHOWN, since=_started(state)).decode(errors="replace")
    return ServiceFailure(service, what, tuple(log.splitlines()))


def _started(state: dict[str, Any]) -> datetime | None:
    """When it last started, unless it runs: then its log may be empty yet, and why it ended before is of use."""
    if state["Running"]:
        return None
    return datetime.fromisoformat(state["StartedAt"]).replace(tzinfo=None)


def _compose_files() -> str:
    """What Compose would read if it were not told, as COMPOSE_FILE has it."""
    chosen = os.environ.get("COMPOSE_FILE") or env_files().get("COMPOSE_FILE")
    return chosen or ":".join(name for name in COMPOSE_FILES if (PROJECT_ROOT / name).exists())


def _no_proxy() -> str:
    """What Docker's client configuration excepts from the proxies that containers get."""
    proxies = load_general_config().get("proxies", {}).get("default", {})
    return str(proxies.get("noProxy", ""))


def _terminal() -> list[str]:
    """What `docker compose exec` is told of this terminal: with one, Ctrl-C gets there as well."""
    return [] if sys.stdin.isatty() and sys.stdout.isatty() else ["-T"]


def _is_unhealthy(container: Container) -> bool:
    state = container.attrs["State"]
    return bool(state["Status"] == "running" and state.get("Health", {}).get("Status") == "unhealthy")


def _starts_first(container: Container) -> bool:
    state = container.attrs["State"]
    is_starting = state["Status"] == "running" and state.get("Health", {}).get("Status", "starting") == "starting"
    return is_starting and not container.attrs.get("RestartCount")


def _token_of(container: Container) -> str | None:
    """The token that a container has, or gets when Docker starts it again; None if that cannot be told."""
    if container.status == "restarting":
        sources = [mount["Source"] for mount in container.attrs["Mounts"] if mount["Destination"].startswith(SECRETS)]
        with suppress(OSError):
            return Path(sources[0]).read_text() if sources else None
    try:
        done = container.exec_run(["sh", "-c", 'cat "$RAY_AUTH_TOKEN_PATH"'])
    except (APIError, NotFound):  # it does not run
        return None
    return done.output.decode(errors="replace") if done.exit_code == 0 else None


def _published(container: Container) -> set[int]:
    bindings = container.attrs["NetworkSettings"].get("Ports") or {}
    return {int(binding["HostPort"]) for hosts in bindings.values() for binding in hosts or []}
