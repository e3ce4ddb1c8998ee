"""Gathers what somebody else needs to help, in one archive without secrets."""

import contextlib
import io
import os
import platform
import re
import tarfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import distributions
from pathlib import Path
from typing import IO, Final

from scripts.host.choose_runtime import runtime_in_use
from scripts.host.doctor import diagnose
from scripts.host.runtime import API, BOOTSTRAP, HEAD, LOCAL_DIR, WORKER, StackError, StackRuntime, captured
from scripts.host.settings import HostSettings, env_files, knobs, own_variables

REMOVED: Final = b"[removed]"
MIN_SECRET: Final = 8  # characters of a variable of the user's; shorter ones, such as `true`, stand everywhere
CREDENTIALS: Final = re.compile(rb"(://)[^/@\s\"']+@")  # of a proxy or a mirror


class Secrets:
    """Takes out what must not leave this machine.

    Args:
        settings: name the file of Ray's token. The values of the user's own variables go as well,
            and the password of the engine.
    """

    def __init__(self, settings: HostSettings) -> None:
        self._values = [value.encode() for value in own_variables().values() if len(value) >= MIN_SECRET]
        passwords = (settings.memory_password.get_secret_value(), env_files().get("MEMORY_PASSWORD", ""))
        self._values += [password.encode() for password in passwords]  # the shell's may lie over the other
        with contextlib.suppress(OSError):
            self._values.append(settings.ray_auth_token_path.read_bytes().strip())
        self._values.sort(key=len, reverse=True)  # one may be a part of another

    def removed(self, content: bytes) -> bytes:
        """The content without them."""
        for value in filter(None, self._values):
            content = content.replace(value, REMOVED)
        return CREDENTIALS.sub(rb"\1" + REMOVED + b"@", content)


def write_bundle(settings: HostSettings, file: Path) -> list[str]:
    """Write the archive; parts that cannot be had are missing, and say why in their place.

    Args:
        settings: of the stack.
        file: the archive, gzipped tar.

    Returns:
        the names of the parts.
    """
    secrets = Secrets(settings)
    names = []
    with tarfile.open(file, "w:gz") as archive:
        for name, content in _parts(settings):
            clean = secrets.removed(content)
            entry = tarfile.TarInfo(f"{file.name.partition('.')[0]}/{name}")
            entry.size, entry.mtime = len(clean), time.time()
            archive.addfile(entry, io.BytesIO(clean))
            names.append(name)
    return names


def _parts(settings: HostSettings) -> Iterator[tuple[str, bytes]]:
    yield "versions.txt", _versions().encode()
    yield "settings.txt", "\n".join(f"{name.upper()}={value}" for name, value in settings).encode()
    yield ".env", "".join(f"{name}={_shown(name, value)}\n" for name, value in env_files().items()).encode()
    yield "doctor.jsonl", _printed(lambda: diagnose(settings, as_json=True))
    try:
        runtime = runtime_in_use(settings)
    except StackError as error:
        yield "stack.txt", str(error).encode()
        return
    yield "ps.txt", _written(lambda output: runtime.ps(stdout=output))
    try:
        services = runtime.services()
    except StackError as error:
        yield "services.txt", str(error).encode()
        services = (HEAD, WORKER, BOOTSTRAP, API)
    for service in services:
        yield f"logs/{service}.log", _written(partial(runtime.save_logs, service))
    if runtime.is_up():
        yield from _ray_logs(settings, runtime)


def _shown(name: str, value: str) -> str:
    return value if name in knobs() else REMOVED.decode()


def _ray_logs(settings: HostSettings, runtime: StackRuntime) -> Iterator[tuple[str, bytes]]:
    services: tuple[str, ...] = (HEAD, WORKER, API)
    if settings.cluster_head:
        services = (WORKER,)
    elif runtime.name == "local":  # all nodes have one folder
        services = (API,)
    for service in services:
        yield from _unpacked(runtime, service, "scripts.ray_logs", f"ray/{service}")
    if settings.cluster_address and not settings.cluster_head:
        yield from _unpacked(runtime, API, "scripts.machine_logs", "machines")


def _unpacked(runtime: StackRuntime, service: str, module: str, folder: str) -> Iterator[tuple[str, bytes]]:
    """The files of the tar file that a module writes."""
    _, packed = captured(lambda output: runtime.run_module(service, module, [], stdout=output))
    try:
        with tarfile.open(fileobj=io.BytesIO(packed)) as logs:
            for entry in logs:
                content = logs.extractfile(entry)
                if content is not None:
                    yield f"{folder}/{entry.name}", content.read()
    except tarfile.TarError:
        yield f"{folder}.txt", packed or b"they cannot be had; does the service run?"


def _versions() -> str:
    lines = [
        f"made at {datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC",
        f"{platform.platform()}, {os.cpu_count()} CPUs",
        f"Python {platform.python_version()}",
        *sorted(f"{found.metadata['Name']} {found.version}" for found in distributions()),
    ]
    return "\n".join(lines) + "\n"


def _printed(run: Callable[[], object]) -> bytes:
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        run()
    return output.getvalue().encode()


def _written(run: Callable[[IO[bytes]], object]) -> bytes:
    try:
        return captured(run)[1]
    except StackError as error:
        return str(error).encode()


def new_name(settings: HostSettings) -> Path:
    """Where a new bundle goes."""
    folder = LOCAL_DIR / "support"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder / f"{settings.compose_project_name}-support-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.tar.gz"
