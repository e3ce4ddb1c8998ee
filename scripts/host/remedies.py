"""What to do about a service that failed, by what its log says. Both runtimes and every verb use this one table."""

import re
from collections.abc import Iterable
from typing import Final

from scripts.host.runtime import API, HEAD, SERVICES, WORKER, ServiceFailure
from seedcore.code_version import MOUNTED

MEMORY_KNOBS: Final = {HEAD: "HEAD_MEMORY", WORKER: "WORKER_MEMORY", API: "API_MEMORY"}
ALL_OF_MEMORY: Final = "HEAD_MEMORY, WORKER_MEMORY or API_MEMORY"
# The first pattern that is found wins, so the specific ones stand first. `{memory}` is the knob of the service.
REMEDIES: Final = (
    (
        r"(?m)^is paused$",
        "`docker compose unpause` lets it go on",
    ),
    (
        r"No node offers the resource",
        "no ray-worker offers STATE_RESOURCE: `make logs S=ray-worker`; RAY_WORKER_REPLICAS must be 1 or more",
    ),
    (
        r"does not accept it|Unauthenticated|UNAUTHENTICATED|AuthenticationError|InvalidAuthToken",
        "the services have different tokens: `make rotate-token` gives all of them a new one; the items are kept",
    ),
    (
        r"these settings are not allowed",
        "change the knobs that the log names, in .env or in your shell, then `make up`",
    ),
    (
        r"[Vv]ersion mismatch|VersionMismatchError",
        "old and new code run side by side: `make down`, then `make up`",
    ),
    (
        r"CERTIFICATE_VERIFY_FAILED",
        "set EXTRA_CA_CERTS to the PEM file of your network's certificate authority, then `make up`",
    ),
    (
        r"[Aa]ddress already in use|port is already allocated",
        "another process has the port: stop it, or change the *_PORT knob in .env",
    ),
    (
        r"non-overlapping IPv4 address pool|predefined address pools have been fully subnetted",
        "Docker has no addresses left for another network: `docker network prune` removes those that nobody uses, then "
        "`make up`",
    ),
    (
        r"bind source path does not exist|[Mm]ounts denied",
        "the Docker Engine does not see this folder, since it runs on another machine or beside this container: run "
        "`make` where the engine runs, or `make up RUNTIME=local` here",
    ),
    (
        r"[Nn]o space left on device",
        "free disk space (`docker system df` shows what Docker holds), then `make up`",
    ),
    (
        r"\bOOM\b|out of memory|Cannot allocate memory|MemoryError",
        "raise {memory} in .env, then `make up`; without Docker it is the machine that has too little",
    ),
    (
        r"can't start new thread|Resource temporarily unavailable|pthread_create",
        "raise PIDS_LIMIT in .env, then `make up`",
    ),
    (
        r"has schema version \d+, this SeedCore knows",
        "a newer version of the template wrote the items: get it with `git pull` or `copier update`, then `make up`",
    ),
    (
        r"database or disk is full|StoreFullError",
        "free disk space (`docker system df` shows what Docker holds), then `make up`; the items are kept",
    ),
    (
        r"database is locked",
        "another process, such as a tool for SQLite, has the items open: close it, then `make up`; the items are kept",
    ),
    (
        r"StoreUnavailableError|readonly database|unable to open database|Permission denied: '/state",
        "the folder of the items cannot be used, as the log says: give it to the user that the services run as (on "
        "Docker 1000, of the volume), or without Docker set another STATE_DIR; `make clean` makes a new one, but "
        "deletes all items",
    ),
    (
        r"No module named 'seedcore'|No module named 'scripts",
        f"the checkout is not readable for the container's user (1000): `chmod -R a+rX {' '.join(MOUNTED)}`",
    ),
    (
        r"the code on the disk cannot be used|InvalidSingletonError|InvalidAppError"
        r"|ModuleNotFoundError|ImportError|SyntaxError|IndentationError|NameError",
        "the code did not load: correct the line that the log names if it is not yet, then `make up`. A new dependency "
        "goes into app/requirements.txt, then `make lock` and `make up`",
    ),
    (
        r"singletons are not alive",
        "an actor could not be born, as the log says of it: correct it in app/actors.py, then `make up`",
    ),
    (
        r"no Ray head answers|Failed to connect to GCS|Unable to connect to GCS|GCS server is dead",
        "the head is down or restarting: `make ps`, `make logs S=ray-head`, then `make up`",
    ),
)
FALLBACK: Final = (
    "`make logs S={service}` shows more, `make doctor` looks at the rest; once it is corrected, `make up`. `make down` "
    "before it starts afresh and keeps the items"
)


def remedy_for(failure: ServiceFailure) -> str:
    """What to do about it, in one line."""
    # Without Docker a worker has a number, which is no name of a service.
    service = next((name for name in SERVICES if failure.service.startswith(f"{name}-")), failure.service)
    memory = MEMORY_KNOBS.get(service, ALL_OF_MEMORY)
    return (_known_remedy(failure) or FALLBACK).format(service=service, memory=memory)


def is_known(failure: ServiceFailure) -> bool:
    """Whether its log says what is wrong."""
    return _known_remedy(failure) is not None


def _known_remedy(failure: ServiceFailure) -> str | None:
    return _found("\n".join((failure.state, *failure.log_lines)))


def remedy_for_text(text: str) -> str | None:
    """What to do about what a program has said; None if nothing of it is known."""
    remedy = _found(text)
    return remedy and remedy.format(memory=ALL_OF_MEMORY)


def _found(text: str) -> str | None:
    return next((remedy for pattern, remedy in REMEDIES if re.search(pattern, text)), None)


def explain_failures(failures: Iterable[ServiceFailure]) -> str:
    """The message for services that did not come up: state, last log lines and remedy of each."""
    parts = []
    for failure in failures:
        lines = "\n".join(f"  | {line}" for line in failure.log_lines) or "  | (its log is empty)"
        parts.append(
            f"{failure.service} {failure.state}. Its last log lines:\n{lines}\nWhat to do: {remedy_for(failure)}"
        )
    return "\n\n".join(parts)
