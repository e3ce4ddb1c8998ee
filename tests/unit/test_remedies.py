import re

import pytest

from scripts.host.remedies import REMEDIES, explain_failures, is_known, remedy_for
from scripts.host.runtime import SERVICES, ServiceFailure

# What a log said, and a word of the one remedy that helps.
LOGGED = [
    ("is paused", "docker compose unpause"),
    (
        "mw: did not answer within BOOTSTRAP_DEADLINE_S=60. No node offers the resource 'state' (STATE_RESOURCE), "
        "which singletons need: is a ray-worker up?",
        "RAY_WORKER_REPLICAS",
    ),
    (
        "AuthenticationFailedError: Ray's token in /run/secrets/ray_auth_token (RAY_AUTH_TOKEN_PATH) does not work: "
        "the head does not accept it. All nodes and drivers need the same token.",
        "make rotate-token",
    ),
    ("ray.exceptions.AuthenticationError: InvalidAuthToken", "make rotate-token"),
    ("gcs_rpc_client.h:178: status = StatusCode.UNAUTHENTICATED", "make rotate-token"),
    ("RpcError: Unauthenticated: missing token", "make rotate-token"),
    (
        "these settings are not allowed; correct them where you set them:\n  API_PORT='80': must be greater than",
        "the knobs that the log names",
    ),
    ("RuntimeError: Version mismatch: The cluster was started with:\n    Ray: 2.59.0", "`make down`, then `make up`"),
    ("seedcore.errors.VersionMismatchError: this process and the cluster differ", "`make down`, then `make up`"),
    (
        "ssl.SSLCertVerificationError: [SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: unable to get local "
        "issuer certificate (_ssl.c:1006)",
        "EXTRA_CA_CERTS",
    ),
    (
        "ERROR:    [Errno 98] error while attempting to bind on address ('0.0.0.0', 8000): address already in use",
        "_PORT",
    ),
    ("OSError: [Errno 98] Address already in use", "_PORT"),
    ("Bind for 127.0.0.1:8000 failed: port is already allocated", "_PORT"),
    (
        "failed to create network seedcore_default: Error response from daemon: could not find an available, "
        "non-overlapping IPv4 address pool among the defaults to assign to the network",
        "docker network prune",
    ),
    ("Error response from daemon: all predefined address pools have been fully subnetted", "docker network prune"),
    ("Error response from daemon: invalid mount config: bind source path does not exist: /host/app", "does not see"),
    ("Error response from daemon: Mounts denied: the path /work is not shared from the host", "does not see"),
    ("mounts denied", "does not see"),
    ("OSError: [Errno 28] No space left on device: '/tmp/ray/session'", "docker system df"),
    ("write /var/lib/docker/tmp: no space left on device", "docker system df"),
    ("exited with code 137, killed for lack of memory (OOM)", "API_MEMORY"),
    ("ray.exceptions.OutOfMemoryError: Task was killed due to the node running out of memory", "API_MEMORY"),
    ("OSError: [Errno 12] Cannot allocate memory", "API_MEMORY"),
    ("MemoryError", "API_MEMORY"),
    ("RuntimeError: can't start new thread", "PIDS_LIMIT"),
    ("BlockingIOError: [Errno 11] Resource temporarily unavailable", "PIDS_LIMIT"),
    ("pthread_create failed (EAGAIN)", "PIDS_LIMIT"),
    (
        "seedcore.errors.StoreUnavailableError: cannot open /state/seedcore-dev/mw.sqlite3: "
        "unable to open database file",
        "folder of the items",
    ),
    ("sqlite3.OperationalError: attempt to write a readonly database", "folder of the items"),
    ("PermissionError: [Errno 13] Permission denied: '/state/seedcore-dev'", "folder of the items"),
    ("ModuleNotFoundError: No module named 'seedcore'", "chmod"),
    ("/opt/venv/bin/python3: No module named 'scripts.verify'", "chmod"),
    ("ModuleNotFoundError: No module named 'torch'", "make lock"),
    ("ModuleNotFoundError: No module named 'seedcore.memry'", "correct the line"),
    ("ModuleNotFoundError: No module named 'ZOOM'", "make lock"),
    ("ImportError: cannot import name 'Counter' from 'seedcore.counter' (/app/seedcore/counter.py)", "make lock"),
    ("    def add(self\n           ^\nSyntaxError: '(' was never closed", "make lock"),
    ("IndentationError: unexpected indent", "make lock"),
    ("NameError: name 'Counter' is not defined", "make lock"),
    ("the code on the disk cannot be used: TypeError: Singleton.__init__() got an unexpected keyword", "make lock"),
    ("InvalidSingletonError: the singleton 'counter' is refused", "correct the line"),
    ("seedcore.errors.InvalidAppError: app/routes.py has no `router`: add `router = APIRouter()`", "correct the line"),
    ("1 of 4 singletons are not alive:\n  ledger: RuntimeError: no such ledger", "correct it in app/actors.py"),
    ("ClusterUnreachableError: no Ray head answers at RAY_ADDRESS=ray-head:6379: connection refused", "S=ray-head"),
    ("Failed to connect to GCS at address ray-head:6379 within 5 seconds.", "S=ray-head"),
    ("Unable to connect to GCS at ray-head:6379. Check that (1) Ray GCS with matching version started", "S=ray-head"),
    ("gcs_client.cc: the GCS server is dead", "S=ray-head"),
]
# Failures of a store in which all items are still there.
NOTHING_LOST = [
    "StoreUnavailableError: cannot write to /state/seedcore-dev/mw.sqlite3: database or disk is full",
    "seedcore.errors.StoreFullError: cannot open /state/seedcore-dev/mw.sqlite3: disk I/O error (Disk quota exceeded)",
    "StoreUnavailableError: /state/seedcore-dev/mw.sqlite3 has schema version 2, this SeedCore knows up to 1: "
    "upgrade SeedCore, or set the file aside",
    "StoreUnavailableError: cannot open /state/seedcore-dev/mw.sqlite3: database is locked",
]
NOISE = ("2026-01-01 00:00:00,000 INFO    seedcore: Ray initialized", "Grüße 🎭")


def failure(*log_lines: str, service: str = "seedcore-api", state: str = "exited with code 1") -> ServiceFailure:
    return ServiceFailure(service, state, log_lines)


@pytest.mark.parametrize(("logged", "word"), LOGGED)
def test_a_log_line_has_the_remedy_that_helps(logged: str, word: str) -> None:
    lines = (NOISE[0], *logged.splitlines(), NOISE[1])
    assert is_known(failure(*lines))
    assert word in remedy_for(failure(*lines))


@pytest.mark.parametrize(("logged", "word"), LOGGED)
def test_the_state_counts_as_well_as_the_log(logged: str, word: str) -> None:
    assert word in remedy_for(failure(*NOISE, state=logged))


@pytest.mark.parametrize(
    "alternative", [part for pattern, _ in REMEDIES for part in re.split(r"\|(?![^\[]*\])", pattern)]
)
def test_every_alternative_of_the_table_is_in_a_line_above(alternative: str) -> None:
    assert any(re.search(alternative, logged) for logged in [*(logged for logged, _ in LOGGED), *NOTHING_LOST])


@pytest.mark.parametrize("logged", NOTHING_LOST)
def test_no_remedy_deletes_items_that_need_not_be_lost(logged: str) -> None:
    assert "make clean" not in remedy_for(failure(logged))


@pytest.mark.parametrize(
    ("service", "knob"),
    [
        ("ray-head", "raise HEAD_MEMORY in"),
        ("ray-worker", "raise WORKER_MEMORY in"),
        ("ray-worker-2", "raise WORKER_MEMORY in"),
        ("seedcore-api", "raise API_MEMORY in"),
        ("bootstrap", "raise HEAD_MEMORY, WORKER_MEMORY or API_MEMORY in"),
    ],
)
def test_who_lacked_memory_is_given_more(service: str, knob: str) -> None:
    assert knob in remedy_for(failure("OSError: [Errno 12] Cannot allocate memory", service=service))


@pytest.mark.parametrize("service", ["ray-worker-1", "ray-worker-8"])
def test_a_worker_with_a_number_has_the_logs_of_its_service(service: str) -> None:
    assert "`make logs S=ray-worker` shows" in remedy_for(failure("nobody has seen this yet", service=service))


@pytest.mark.parametrize("service", SERVICES)
def test_an_unknown_failure_leads_to_the_log_and_keeps_the_items(service: str) -> None:
    unknown = failure("something that nobody has seen yet", service=service)
    assert not is_known(unknown)
    remedy = remedy_for(unknown)
    assert f"make logs S={service}" in remedy
    assert "make doctor" in remedy
    assert "keeps the items" in remedy


def test_the_explanation_shows_each_service_with_state_log_and_remedy() -> None:
    text = explain_failures(
        [
            failure(*NOISE, "RuntimeError: can't start new thread", service="ray-worker", state="exited with code 2"),
            failure(service="seedcore-api", state="is unhealthy, health check: nobody listens on 127.0.0.1:8000"),
        ]
    )
    worker, api = text.split("\n\n")
    assert worker.splitlines()[0].startswith("ray-worker exited with code 2")
    assert [f"  | {line}" in worker.splitlines() for line in NOISE] == [True, True]
    assert "What to do: raise PIDS_LIMIT" in worker
    assert "nobody listens on 127.0.0.1:8000" in api
    assert "(its log is empty)" in api
    assert "make logs S=seedcore-api" in api
