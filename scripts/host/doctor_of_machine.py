"""The checks of `doctor` that look at this machine and this checkout, before there is a stack."""

import os
import shutil
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Callable, Iterable
from functools import cached_property
from pathlib import Path
from typing import Final, TypeVar

import certifi
import docker
import psutil
from docker.errors import APIError
from docker.utils.config import load_general_config

from scripts.checks import Check, CheckError, DoesNotApplyError
from scripts.host.ca_certificates import read_extra_ca_certificates
from scripts.host.cluster_network import interface_of
from scripts.host.docker_engine import (
    base_image_in_place_of,
    connect_to_engine,
    has_image,
    no_base_image,
    require_compose,
)
from scripts.host.locks import NOT_LOCKED, OF_APPLICATION, REQUIREMENTS, is_locked
from scripts.host.package_index import PipConfigurationError, environment_for_pip, for_build, read_options, remedy_for
from scripts.host.runtime import StackError, StackRuntime, relative
from scripts.host.settings import (
    HostSettings,
    Runtime,
    changed_by_docker,
    env_files,
    knobs,
    knobs_in_env_file,
    meant_knob,
    own_variables,
    why_missing,
)
from scripts.host.token_file import require_token
from seedcore.code_version import MOUNTED
from seedcore.settings import PROJECT_ROOT, AuthMode

T = TypeVar("T")

MIN_CPUS: Final = 2
MIN_MEMORY_BYTES: Final = 2 * 2**30  # the idle stack takes half of it
MIN_DISK_BYTES: Final = 3 * 2**30  # the image, its layers and the virtual environment
PIP_TIMEOUT_S: Final = 15
PROBE: Final = "certifi"  # small, and without it pip trusts nobody
MADE_HERE: Final = (".venv", ".secrets", ".local", "backups", "images/ca-certificates")  # what the verbs write
SCRIPTS: Final = ("images/**/*.sh", "scripts/**/*.sh", ".ci/*", ".env")


class DoctorOfMachine:
    """The checks.

    Args:
        settings: of the stack.
        runtime: what `make up` would take; None if that is Docker, and it cannot be used.
        is_up: whether the stack runs in it.
    """

    def __init__(self, settings: HostSettings, runtime: StackRuntime | None, *, is_up: bool) -> None:
        self._settings = settings
        self._runtime = runtime
        self._is_up = is_up

    def checks(self) -> list[Check]:
        """In the order in which one failure explains the next."""
        return [
            Check(".env has every knob, and none misspelt", self.env_file),
            Check("app/requirements.txt is locked", self.requirements),
            Check("scripts have Unix line endings", self.line_endings),
            Check("Docker", self.engine),
            Check("base image", self.base_image),
            Check("package index", self.package_index),
            Check("CPUs and memory", self.machine),
            Check("disk", self.disk),
            Check("files are yours", self.owner),
            Check("files are readable for the containers", self.readable),
            Check("Ray's token", self.token),
            Check("certificate authorities", self.certificates),
            Check("proxy", self.proxy),
            Check("ports", self.ports),
            *([Check("address for other machines", self.address)] if self._settings.cluster_address else []),
        ]

    def env_file(self) -> str:
        """No knob is missing or misspelt in `.env` and `.env.local`; other variables are the user's own."""
        found = env_files()
        missing = knobs_in_env_file() - set(found)
        problems = [why_missing(name) for name in sorted(missing)]
        meant = {name: meant_knob(name) for name in sorted(own_variables())}
        problems += [f"{name} is no knob: is {one} meant?" for name, one in meant.items() if one and one not in missing]
        problems += changed_by_docker()
        if problems:
            raise CheckError(" ".join(problems))
        over = sorted(name for name in knobs() if name in os.environ)
        own = f", and of your own {', '.join(sorted(own_variables()))}" if own_variables() else ""
        return f"{len(set(found) & knobs())} knobs{own}" + (f"; your shell sets {', '.join(over)}" if over else "")

    def requirements(self) -> str:
        """What the application needs will be installed."""
        if not (PROJECT_ROOT / REQUIREMENTS).exists():
            raise DoesNotApplyError("there is none")
        if not is_locked():
            raise CheckError(f"{NOT_LOCKED}. `make lock`, then `make up`.")
        return OF_APPLICATION

    def line_endings(self) -> str:
        """Scripts that a container runs have no carriage returns."""
        files = [path for pattern in SCRIPTS for path in PROJECT_ROOT.glob(pattern)]
        wrong = [str(relative(path)) for path in files if b"\r\n" in path.read_bytes()]
        if wrong:
            raise CheckError(
                f"Windows line endings, which bash does not take, in: {', '.join(wrong)}. "
                f"`sed -i 's/\\r$//' {' '.join(wrong)}` removes them."
            )
        return f"{len(files)} files"

    def engine(self) -> str:
        """Engine and Compose, or the embedded runtime in their place."""
        if self._settings.runtime is Runtime.LOCAL:
            raise DoesNotApplyError("RUNTIME=local")
        try:
            client = self._client
        except StackError as error:
            if self._settings.runtime is Runtime.DOCKER:
                raise CheckError(str(error)) from error
            if self._runtime is None:
                raise CheckError(f"{error} Your items are there: the stack was last started on Docker.") from error
            raise DoesNotApplyError(f"{error} Until then `make up` runs without Docker.") from error
        return f"engine {client.version()['Version']}, Compose {require_compose()}"

    def base_image(self) -> str:
        """There is one to build on, here or where it is pulled from."""
        client = self._client_for_builds()
        wanted = self._settings.base_image
        if has_image(client, wanted):
            return f"{wanted} is on this machine"
        other = base_image_in_place_of(client, wanted)
        if other is not None:
            return f"{other} is on this machine, and is taken where {wanted} cannot be pulled"
        try:
            client.images.get_registry_data(wanted)
        except APIError as error:
            raise CheckError(str(no_base_image(wanted, str(error.explanation or error)))) from error
        return f"{wanted} can be pulled"

    def package_index(self) -> str:
        """It can be reached, as the build will reach it, where the image is not built yet."""
        client = self._client_for_builds()
        if has_image(client, self._settings.image):
            raise DoesNotApplyError(f"the image {self._settings.image} is built")
        extra = _explained(lambda: read_extra_ca_certificates(self._settings.extra_ca_certs))
        pip = [sys.executable, "-I", "-m", "pip"]
        with tempfile.TemporaryDirectory() as folder:
            trusted, told = Path(folder, "trusted.pem"), Path(folder, "pip.conf")
            trusted.write_bytes(Path(certifi.where()).read_bytes() + (extra.content if extra else b""))
            try:
                told.write_text(for_build(read_options(pip)))
            except PipConfigurationError as error:
                raise CheckError(str(error)) from error
            # Without a second try pip does not say why the first one failed.
            command = ["download", "--no-deps", "--no-cache-dir", "--retries=1", "--dest", folder, PROBE]
            # The build does not know who you are (netrc), but what its index is.
            environment = {**environment_for_pip({}), "PIP_CONFIG_FILE": str(told), "NETRC": os.devnull}
            done = subprocess.run(
                [*pip, *command, f"--timeout={PIP_TIMEOUT_S}", f"--cert={trusted}"],
                env=environment,
                capture_output=True,
                text=True,
                check=False,
            )
        if done.returncode:
            raise CheckError(_why_pip_failed(done.stdout + done.stderr))
        return f"it has {PROBE}"

    @cached_property
    def _client(self) -> docker.DockerClient:
        return connect_to_engine()

    def _client_for_builds(self) -> docker.DockerClient:
        if self._settings.runtime is not Runtime.LOCAL:
            try:
                return self._client
            except StackError:  # the check of Docker has said why
                pass
        raise DoesNotApplyError("without Docker no image is built")

    def machine(self) -> str:
        """Enough for the stack."""
        cpus, memory = os.cpu_count() or 1, psutil.virtual_memory()
        facts = f"{cpus} CPUs, {_gib(memory.available)} of {_gib(memory.total)} free"
        if memory.available < MIN_MEMORY_BYTES and not self._is_up:
            raise CheckError(f"{facts}; the stack needs {_gib(MIN_MEMORY_BYTES)}. Stop something, or add memory.")
        if cpus < MIN_CPUS:
            raise CheckError(f"{facts}; the stack needs {MIN_CPUS} CPUs.")
        return facts

    def disk(self) -> str:
        """Room for image and items."""
        free = shutil.disk_usage(PROJECT_ROOT).free
        if free < MIN_DISK_BYTES:
            raise CheckError(
                f"{_gib(free)} free, {_gib(MIN_DISK_BYTES)} are needed. "
                "`docker system df` shows what Docker holds, `docker image prune` frees images without a name."
            )
        return f"{_gib(free)} free"

    def owner(self) -> str:
        """A verb that root ran once leaves files that you cannot change."""
        paths = [PROJECT_ROOT / name for name in MADE_HERE if (PROJECT_ROOT / name).exists()]
        others = {relative(path): path.stat().st_uid for path in paths if path.stat().st_uid != os.getuid()}
        if others:
            names = " ".join(map(str, others))
            raise CheckError(
                f"{names} belong to user {_listed(others.values())}, you are user {os.getuid()}. "
                f"`sudo chown -R {os.getuid()}:{os.getgid()} {names}`, and run all verbs as one user."
            )
        return f"of user {os.getuid()}"

    def readable(self) -> str:
        """The containers' user is somebody else, and must be able to read the mounted code."""
        paths = [
            path
            for folder in MOUNTED
            for path in (PROJECT_ROOT / folder).rglob("*")
            if path.name != "__pycache__" and path.exists()  # Emacs locks a file by a link to nowhere
        ]
        needed = {True: 0o005, False: 0o004}
        closed = [path for path in paths if path.stat().st_mode & needed[path.is_dir()] != needed[path.is_dir()]]
        if closed:
            raise CheckError(
                f"{len(closed)} files, such as {relative(closed[0])}, cannot be read by the containers' user (1000). "
                f"`chmod -R a+rX {' '.join(MOUNTED)}`."
            )
        return f"{len(paths)} files"

    def token(self) -> str:
        """There is one that no other user can read, or will be."""
        if self._settings.ray_auth_mode is AuthMode.DISABLED:
            raise CheckError("RAY_AUTH_MODE=disabled: whoever reaches Ray can run code. Set it to token in .env.")
        path = self._settings.ray_auth_token_path
        if not os.path.lexists(path):
            raise DoesNotApplyError(f"{relative(path)} is not there yet; `make up` makes it")
        _explained(lambda: require_token(path))
        return str(relative(path))

    def certificates(self) -> str:
        """Those that `EXTRA_CA_CERTS` names can be read."""
        found = _explained(lambda: read_extra_ca_certificates(self._settings.extra_ca_certs))
        if found is None:
            raise DoesNotApplyError("no extra ones: neither EXTRA_CA_CERTS nor SSL_CERT_FILE is set")
        return found.source

    def proxy(self) -> str:
        """What it is for: the stack's own calls do not use it."""
        proxies = {name: url for name, url in urllib.request.getproxies().items() if name in ("http", "https", "all")}
        for_containers = load_general_config().get("proxies", {})
        if not proxies and not for_containers:
            raise DoesNotApplyError("none is set")
        said = [f"your shell has one for {', '.join(sorted(proxies))}"] if proxies else []
        said += ["Docker's client configuration has one for containers"] if for_containers else []
        if proxies and not urllib.request.proxy_bypass("127.0.0.1"):
            said.append("`export NO_PROXY=localhost,127.0.0.1` lets your own curl reach the API")
        return f"{'; '.join(said)}. The stack's own calls do not use it"

    def ports(self) -> str:
        """Free, while the stack is down."""
        if self._runtime is None:
            raise DoesNotApplyError("there is no Docker to ask")
        if self._is_up:
            raise DoesNotApplyError("the stack has them")
        _explained(self._runtime.require_free_ports)
        return f"API {self._settings.api_port} and dashboard {self._settings.dashboard_port} are free"

    def address(self) -> str:
        """This machine has the one that the others are told."""
        settings = self._settings
        interface = _explained(lambda: interface_of(settings))
        head = settings.cluster_head
        why = f"`make join` took it, since it leads to {head}, or was told it" if head else "CLUSTER_ADDRESS"
        return f"{settings.cluster_address} of {interface} ({why})"


def _why_pip_failed(output: str) -> str:
    lines = output.splitlines()
    telling = [line for line in lines if remedy_for(line)] or [line for line in lines if line.startswith("ERROR:")]
    remedy = remedy_for(output)
    reason = telling[0] if telling else "pip says nothing"
    return f"it does not have {PROBE}: {reason}" + (f". What to do: {remedy}." if remedy else "")


def _explained(run: Callable[[], T]) -> T:
    try:
        return run()
    except StackError as error:
        raise CheckError(str(error)) from error


def _listed(numbers: Iterable[int]) -> str:
    return ", ".join(map(str, sorted(set(numbers))))


def _gib(number: int) -> str:
    return f"{number / 2**30:.1f} GiB"
