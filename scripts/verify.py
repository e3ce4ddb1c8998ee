"""Proves that the stack works, by using it. Exit code 0 only if every check holds; each failure names its remedy."""

import json
import platform
import shlex
import subprocess
import sys
from collections import defaultdict
from http import HTTPStatus
from typing import Any, Final
from uuid import uuid4

import httpx
import ray
from ray.exceptions import TaskUnschedulableError
from ray.job_submission import JobSubmissionClient
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
from tenacity import (
    RetryError,
    Retrying,
    retry,
    retry_if_exception_type,
    retry_if_result,
    stop_after_attempt,
    stop_after_delay,
    wait_fixed,
)

from scripts.checks import Check, CheckError, run_checks
from scripts.cluster_checks import cluster_check
from scripts.cluster_session import join_cluster
from seedcore.cluster.bootstrap import bootstrap_actors
from seedcore.cluster.singletons import singletons
from seedcore.cluster.status import node_statuses, singleton_statuses, staleness
from seedcore.errors import SeedCoreError
from seedcore.memory.engines import memory_of_process
from seedcore.memory.working_memory import MwManager
from seedcore.settings import Settings, SettingsError

NODE_TIMEOUT_S: Final = 20.0
TASK_TIMEOUT_S: Final = 60.0  # a first task waits for a worker process to import what it needs
JOB_POLL_S: Final = 0.2
HTTP_TIMEOUT_S: Final = 30.0
ITEM_TTL_S: Final = 600.0  # what verify writes is gone after this, whatever happens to verify
ORGAN_ID: Final = "verify"
BUSY: Final = "no worker had a free CPU within {:g} s: wait for what runs, or raise RAY_WORKER_CPUS"


def node_versions() -> tuple[str, str]:
    """Ray's and Python's version on the node that this runs on."""
    return ray.__version__, platform.python_version()


def read_in_task(organ_id: str, item_id: str) -> Any:
    """What a task sees of an organ's item."""
    return MwManager(organ_id).get_item(item_id)


class Verify:
    """The checks, on one connection to the cluster and to the API.

    Args:
        settings: of the stack to check.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._api = httpx.Client(
            base_url=f"http://127.0.0.1:{settings.api_port}", timeout=HTTP_TIMEOUT_S, trust_env=False
        )
        self._memory = MwManager(ORGAN_ID)

    def checks(self) -> list[Check]:
        """All checks, in the order in which one failure explains the next."""
        return [
            cluster_check("same Ray and Python on every node", self.same_versions),
            cluster_check("all singletons are named in the namespace", self.all_named),
            cluster_check("every singleton answers", self.all_answer),
            *(
                [cluster_check("the engine at MEMORY_URL keeps its promises", self.engine)]
                if self._settings.memory_url
                else []
            ),
            cluster_check("every singleton runs the code on the disk", self.all_current),
            cluster_check("plain `ray.init()` finds the singletons", self.plain_driver),
            cluster_check("so does a submitted job", self.submitted_job),
            cluster_check("a task on a worker reads what the API wrote", self.task_reads_what_api_wrote),
            cluster_check("an item goes through the API and back through MwManager", self.round_trip),
            cluster_check("a second bootstrap creates nothing", self.second_bootstrap),
            cluster_check("the dashboard refuses a call without the token", self.dashboard_refuses),
        ]

    def same_versions(self) -> str:
        """Every node runs the same Ray and the same Python."""
        by_version = defaultdict(list)
        for address, versions in self._versions().items():
            by_version[versions].append(address)
        described = "; ".join(
            f"Ray {ray_version}, Python {python} on {len(where)} node(s) {', '.join(where)}"
            for (ray_version, python), where in by_version.items()
        )
        if len(by_version) > 1:
            raise CheckError(f"they differ: {described}. `make down`, then `make up` runs one image everywhere.")
        return described

    # A node that was killed counts as alive until the head has missed it for some seconds.
    @retry(retry=retry_if_exception_type(TaskUnschedulableError), stop=stop_after_attempt(3), reraise=True)
    def _versions(self) -> dict[str, tuple[str, str]]:
        task: Any = ray.remote(num_cpus=0)(node_versions)
        nodes = [node for node in node_statuses(self._settings) if node.alive]
        references = [
            task.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node.node_id, soft=False)).remote()
            for node in nodes
        ]
        # By node, since two embedded ones have one address.
        names = [f"{node.address} ({node.node_id[:8]})" for node in nodes]
        answered, _ = ray.wait(references, num_returns=len(references), timeout=NODE_TIMEOUT_S)
        silent = [name for name, reference in zip(names, references, strict=True) if reference not in answered]
        if silent:
            raise CheckError(
                f"{', '.join(silent)} did not answer within {NODE_TIMEOUT_S:g} s. `make ps`, `make logs S=ray-worker`."
            )
        return dict(zip(names, ray.get(references), strict=True))

    def all_named(self) -> str:
        """`ray.util.list_named_actors` holds every singleton in the namespace."""
        namespace = self._settings.ray_namespace
        named = {
            actor["name"]
            for actor in ray.util.list_named_actors(all_namespaces=True)
            if actor["namespace"] == namespace
        }
        wanted = [row.name for row in singletons(self._settings)]
        missing = [name for name in wanted if name not in named]
        if missing:
            raise CheckError(f"{', '.join(missing)} not in '{namespace}'. `make bootstrap` creates what is missing.")
        return f"{', '.join(wanted)} in '{namespace}'"

    def all_answer(self) -> str:
        """Every singleton answers a call."""
        statuses = singleton_statuses(self._settings)
        silent = [f"{status.name}: {status.reason}" for status in statuses if not status.running]
        if silent:
            raise CheckError(
                "; ".join(silent) + ". `make monitor` shows more, `make bootstrap` creates what is missing."
            )
        return ", ".join(
            f"{status.name} " + (f"pid {status.process.pid}" if status.process else status.reason)
            for status in statuses
        )

    def engine(self) -> str:
        """It answers, and none of its settings breaks a promise of the memory."""
        state = memory_of_process(self._settings).state()
        if state.problems:
            raise CheckError("; ".join(state.problems) + ".")
        return "; ".join(state.facts)

    def all_current(self) -> str:
        """No singleton runs older code than is on the disk."""
        processes = {status.name: status.process for status in singleton_statuses(self._settings) if status.process}
        stale = [f"{name} {staleness(process)}" for name, process in processes.items() if process.is_stale]
        if stale:
            raise CheckError("; ".join(stale) + ". `make reload-actors` restarts it on the new code, items kept.")
        return ", ".join(f"{name} {process.code.running}" for name, process in processes.items() if process.code)

    def plain_driver(self) -> str:
        """A driver that names no namespace, and its task, are in the stack's."""
        command = [sys.executable, *self._plain_driver()]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=TASK_TIMEOUT_S)
        except subprocess.TimeoutExpired as error:
            raise CheckError(BUSY.format(TASK_TIMEOUT_S)) from error
        return self._found_in_namespace(done.stdout, done.stderr)

    def submitted_job(self) -> str:
        """Likewise a job of `ray job submit`."""
        try:
            client = JobSubmissionClient()
            job_id = client.submit_job(entrypoint=shlex.join(["python3", *self._plain_driver()]))
        except (OSError, RuntimeError) as error:  # what Ray's client raises for all that goes wrong
            raise CheckError(f"Ray's dashboard takes no jobs: {error}. `make logs S=ray-head`.") from error
        until_done = Retrying(
            retry=retry_if_result(lambda status: not status.is_terminal()),
            stop=stop_after_delay(TASK_TIMEOUT_S),
            wait=wait_fixed(JOB_POLL_S),
        )
        try:
            until_done(client.get_job_status, job_id)
        except RetryError as error:
            client.stop_job(job_id)
            raise CheckError(f"job {job_id} was not done: {BUSY.format(TASK_TIMEOUT_S)}") from error
        logs = client.get_job_logs(job_id)
        return self._found_in_namespace(logs, logs)

    def _plain_driver(self) -> list[str]:
        return ["-m", "scripts.plain_driver", *(row.name for row in singletons(self._settings))]

    def _found_in_namespace(self, printed: str, reasons: str) -> str:
        """What a plain driver found, or why it did not."""
        lines = [line for line in printed.splitlines() if line.startswith("{")]
        if not lines:
            why = next((line for line in reversed(reasons.splitlines()) if line.strip()), "it says nothing")
            raise CheckError(f"{why}. `make logs S=ray-head`.")
        found = json.loads(lines[-1])
        wanted = self._settings.ray_namespace
        if set(found.values()) != {wanted}:
            raise CheckError(f"it looked in {found}, not in RAY_NAMESPACE={wanted}. `make down`, then `make up`.")
        return f"driver and task in '{wanted}'"

    def task_reads_what_api_wrote(self) -> str:
        """A Ray task on each node with CPUs reads an item that the API wrote."""
        item_id, value = _new_item()
        self._put(item_id, value)
        task: Any = ray.remote(num_cpus=1)(read_in_task)
        nodes = [node for node in node_statuses(self._settings) if node.alive and "CPU" in node.resources]
        if not nodes:
            raise CheckError("no node offers CPUs. `make ps`, `make logs S=ray-worker`.")
        # Soft, since a node that was killed counts as alive for some seconds.
        reads = {
            task.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node.node_id, soft=True)).remote(
                ORGAN_ID, item_id
            ): f"{node.address} ({node.node_id[:8]})"
            for node in nodes
        }
        done, silent = ray.wait([*reads], num_returns=len(reads), timeout=TASK_TIMEOUT_S)
        for one in silent:
            ray.cancel(one)
        if silent:
            raise CheckError(f"not on {', '.join(map(reads.__getitem__, silent))}: {BUSY.format(TASK_TIMEOUT_S)}")
        for one in done:
            if (read := ray.get(one)) != value:
                raise CheckError(
                    f"the API wrote {value!r}, the task on {reads[one]} read {read!r}. Do both use one RAY_NAMESPACE?"
                )
        self._memory.delete_item(item_id)
        return "on " + ", ".join(reads.values())

    def round_trip(self) -> str:
        """What the API writes MwManager reads, what MwManager writes the API reads, and a deleted item is gone."""
        item_id, value = _new_item()
        self._put(item_id, value)
        if (read := self._memory.get_item(item_id)) != value:
            raise CheckError(f"the API wrote {value!r}, MwManager read {read!r}. Do both use one RAY_NAMESPACE?")
        changed = {**value, "changed": True}
        self._memory.set_item(item_id, changed, ttl_s=ITEM_TTL_S)
        if (read := self._request("GET", item_id).json()["value"]) != changed:
            raise CheckError(f"MwManager wrote {changed!r}, the API read {read!r}. Do both use one RAY_NAMESPACE?")
        self._request("DELETE", item_id)
        if self._memory.delete_item(item_id):  # a get would count as a miss
            raise CheckError("an item that the API deleted is still there. See `make logs S=ray-worker`.")
        return "written, read, changed, read, deleted"

    def second_bootstrap(self) -> str:
        """Bootstrapping again leaves every actor and its process as they are."""
        before = self._processes()
        bootstrap_actors(self._settings)
        after = self._processes()
        if any(after.get(name, process) != process for name, process in before.items()):
            raise CheckError(
                f"actors changed from {before} to {after}. `make logs S=ray-worker` says why they restarted."
            )
        return f"{len(after)} reused"

    def dashboard_refuses(self) -> str:
        """Whoever has no token cannot use Ray's dashboard, and so not its job API."""
        # Of several machines the head's dashboard listens on its own 127.0.0.1, not at the address that others reach.
        address = self._settings.ray_address if not self._settings.cluster_address else "127.0.0.1:"
        host = address.partition(":")[0]
        url = f"http://{host}:{self._settings.dashboard_port}/api/jobs/"
        try:
            status = httpx.get(url, timeout=HTTP_TIMEOUT_S, trust_env=False).status_code
        except httpx.HTTPError as error:
            raise CheckError(f"no dashboard at {url}: {error}. See `make logs S=ray-head`.") from error
        if status not in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            raise CheckError(f"{url} answered {status}. Set RAY_AUTH_MODE=token, then `make down` and `make up`.")
        return f"{status}"

    def _processes(self) -> dict[str, tuple[str, int]]:
        """Of each singleton that answers; one that is busy cannot say where it lives."""
        statuses = singleton_statuses(self._settings)
        dead = [f"{status.name}: {status.reason}" for status in statuses if not status.running]
        if dead:
            raise CheckError("; ".join(dead) + ". `make bootstrap` creates what is missing.")
        return {status.name: (status.process.actor_id, status.process.pid) for status in statuses if status.process}

    def _put(self, item_id: str, value: Any) -> None:
        self._request("PUT", item_id, {"value": value, "ttl_s": ITEM_TTL_S})

    def _request(self, method: str, item_id: str, body: dict[str, Any] | None = None) -> httpx.Response:
        path = f"/organs/{ORGAN_ID}/items/{item_id}"
        try:
            answer = self._api.request(method, path, json=body)
        except httpx.HTTPError as error:
            raise CheckError(f"{method} {self._api.base_url}{path} failed: {error}. See `make ps`.") from error
        if answer.is_error:
            raise CheckError(f"{method} {path} answered {answer.status_code}: {answer.text}")
        return answer


def _new_item() -> tuple[str, dict[str, Any]]:
    return f"item-{uuid4()}", {"text": "Grüße", "list": [1, 2.5, None, True]}


def main() -> int:
    """Run all checks."""
    try:
        verify = Verify(join_cluster())
    except (SeedCoreError, SettingsError) as error:
        print(f"❌ connect: {error}")
        return 1
    return 0 if run_checks(verify.checks()) else 1


if __name__ == "__main__":
    sys.exit(main())
