"""Verbs that start and stop the stack."""

import os
import time
from argparse import Namespace
from typing import Final

from scripts.host.choose_runtime import others_with_items, remember_start, running, runtime_in_use, runtime_to_start
from scripts.host.dialogue import confirm, next_step
from scripts.host.locks import NOT_LOCKED, is_locked
from scripts.host.runtime import PLACES, StackError, relative
from scripts.host.settings import (
    MAX_WORKERS,
    HostSettings,
    Runtime,
    changed_by_docker,
    env_files,
    knobs_in_env_file,
    left_out_knobs,
    no_assignments,
    why_missing,
)
from scripts.host.started import forget, last_start
from scripts.host.token_file import ensure_token
from seedcore.settings import PROJECT_ROOT, AuthMode, SettingsError

APPLICATION: Final = PROJECT_ROOT / "app"


def up(settings: HostSettings, arguments: Namespace) -> int:
    """Build and start the stack, wait until it is healthy."""
    began = time.monotonic()
    _require_knobs()
    ensure_token(settings.ray_auth_token_path)
    APPLICATION.mkdir(exist_ok=True)  # else Docker makes it, as root
    before = last_start(settings.compose_project_name)
    choice = runtime_to_start(settings)
    if not is_locked():
        print(f"{NOT_LOCKED}: `make lock`, then `make up`")
    print(f"runtime: {choice.runtime.name} ({choice.reason})")
    for name in sorted(left_out_knobs()):
        print(
            f"{name} from your shell was not used, since Ray's own programs read it too: `make up {name}=...` or .env "
            "sets it."
        )
    choice.runtime.up(lambda: remember_start(settings, choice.runtime))  # of what changed, if it fails later
    if before is not None and before.knobs and before.knobs.get("MEMORY_URL", "") != settings.memory_url:
        there = before.knobs.get("MEMORY_URL") or "SQLite files"
        print(
            f"the memory is in {settings.memory_url or 'SQLite files'} now; what was in {there} is still there, and "
            "`make backup` of then carries it: `make restore FILE=...`, see docs/valkey.md"
        )
    remember_start(settings, choice.runtime)
    print(
        f"\nThe stack '{settings.compose_project_name}' is up after {time.monotonic() - began:.1f} s:\n"
        f"  API        http://127.0.0.1:{settings.api_port}\n"
        f"  API docs   http://127.0.0.1:{settings.api_port}/docs\n"
        f"  dashboard  http://127.0.0.1:{settings.dashboard_port}"
    )
    if settings.ray_auth_mode is AuthMode.TOKEN:
        print(f"             asks for the token in {relative(settings.ray_auth_token_path)} (`make token` shows it)")
    if settings.has_prometheus:
        is_there = choice.runtime.name == Runtime.DOCKER.value
        where = f"http://127.0.0.1:{settings.prometheus_port}" if is_there else "not started: it runs on Docker only"
        print(f"  Prometheus {where}")
    return next_step("`make verify` proves that it works, `make monitor` shows the actors, `make down` stops it")


def _require_knobs() -> None:
    """Compose would name the one that is missing, and not the one that is misspelt, nor where a value is cut short."""
    missing = sorted(knobs_in_env_file() - set(env_files()) - set(os.environ))
    problems = no_assignments() or [*map(why_missing, missing), *changed_by_docker()]
    if problems:
        raise StackError("\n".join(problems))


def down(settings: HostSettings, arguments: Namespace) -> int:
    """Stop the stack; the items stay."""
    runtime_in_use(settings).down(remove_state=False)
    return next_step("the items are kept: `make up` starts again with them, `make clean` deletes them")


def clean(settings: HostSettings, arguments: Namespace) -> int:
    """Stop the stack and delete all items, after asking."""
    runtime = runtime_in_use(settings)
    confirm(
        f"Delete all items of the stack '{settings.compose_project_name}'?",
        "`make clean` deletes all items, and there is nobody to ask. `make clean YES=1` means it.",
        arguments,
    )
    runtime.down(remove_state=True)
    if runtime.has_items():
        raise StackError(
            "not all items are deleted: another container still uses their volume (`docker ps --all` shows it). Remove "
            "it, then `make clean` again."
        )
    forget(settings.compose_project_name)
    print(f"all items of this stack {PLACES[runtime.name]} are deleted")
    if runtime.name == Runtime.DOCKER.value:
        print(f"its image, if it has one, stays for the next start: `docker image rm {settings.image}` deletes it")
    for other in others_with_items(settings, runtime):
        print(f"those {PLACES[other]} are still there: `make clean RUNTIME={other}` deletes them")
    if settings.memory_url and not settings.uses_own_valkey:
        print(f"those at MEMORY_URL={settings.memory_url} are still there: whoever runs that server deletes them")
        return next_step("`make up` finds them again")
    return next_step("`make up` starts with an empty memory")


def scale(settings: HostSettings, arguments: Namespace) -> int:
    """Run another number of ray-worker nodes."""
    workers = int(arguments.workers) if arguments.workers.isdecimal() else 0
    if not 1 <= workers <= MAX_WORKERS:
        raise SettingsError(f"N={arguments.workers} is not allowed: 1 to {MAX_WORKERS}.")
    running(settings).scale(workers)
    print(f"ray-worker nodes: {workers}")
    return next_step("`make ps` shows them; the next `make up` goes by RAY_WORKER_REPLICAS in .env again")
