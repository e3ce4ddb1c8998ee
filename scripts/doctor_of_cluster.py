"""The checks of `doctor` that need the cluster; prints a JSON line for each."""

import os
import shutil
import sqlite3
import sys
from collections import defaultdict
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import ray
from ray.exceptions import GetTimeoutError

from scripts.checks import Check, CheckError, DoesNotApplyError, run_checks
from scripts.cluster_checks import cluster_check
from scripts.cluster_session import join_cluster
from scripts.machine_checks import MachineChecks
from scripts.verify import Verify
from seedcore.cluster.singletons import STATE_SHARE, singletons
from seedcore.cluster.status import node_statuses
from seedcore.errors import SeedCoreError
from seedcore.settings import Settings, SettingsError
from seedcore.store.files.connection import open_connection

TASK_TIMEOUT_S: Final = 20.0
MIN_FREE_BYTES: Final = 2**30


@dataclass(frozen=True)
class State:
    """What a node says of the state folder.

    Args:
        bytes_used: in all files.
        bytes_free: on its disk.
        not_writable: paths that the actors' user cannot write to.
        damaged: what SQLite says of each store that is not as it should be.
        user_id: of the actors' processes.
    """

    bytes_used: int
    bytes_free: int
    not_writable: list[str]
    damaged: list[str]
    user_id: int


def look_at_state(state_dir: Path) -> State:
    """Runs on a node that has the volume."""
    files = [path for path in state_dir.rglob("*") if path.is_file()]
    stores = [path for path in files if path.suffix == ".sqlite3" and path.parent.parent == state_dir]
    closed = [str(path) for path in (state_dir, *state_dir.glob("*"), *stores) if not os.access(path, os.W_OK)]
    damaged = [f"{path}: {problem}" for path in stores if (problem := _problem(path))]
    used = sum(path.stat().st_size for path in files)
    return State(used, shutil.disk_usage(state_dir).free, closed, damaged, os.getuid())


def _problem(store: Path) -> str:
    try:
        with closing(open_connection(store, "ro")) as connection:
            found = [str(row[0]) for row in connection.execute("PRAGMA quick_check(3)")]
    except sqlite3.Error as error:
        return str(error)
    return "" if found == ["ok"] else "; ".join(found)


class DoctorOfCluster:
    """The checks, on one connection to the cluster.

    Args:
        settings: of the stack.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def checks(self) -> list[Check]:
        """In the order in which one failure explains the next."""
        verify = Verify(self._settings)
        return [
            cluster_check("same Ray and Python on every node", verify.same_versions),
            cluster_check("a ray-worker offers the state volume", self.state_is_offered),
            cluster_check("every singleton is in the one namespace", self.namespaces),
            cluster_check("every singleton answers", verify.all_answer),
            *(
                [cluster_check("the engine at MEMORY_URL keeps its promises", verify.engine)]
                if self._settings.memory_url
                else []
            ),
            cluster_check("every singleton runs the code on the disk", verify.all_current),
            cluster_check("state volume", self.state),
            *(MachineChecks(self._settings).checks() if self._settings.cluster_address else []),
        ]

    def state_is_offered(self) -> str:
        """Singletons can live somewhere."""
        nodes = self._nodes_with_state()
        if not nodes:
            raise CheckError(
                f"no node offers the resource '{self._settings.state_resource}' (STATE_RESOURCE) for singletons. "
                "`make ps`, `make logs S=ray-worker`."
            )
        return f"{nodes} node(s)"

    def _nodes_with_state(self) -> int:
        nodes = node_statuses(self._settings)
        return sum(node.alive and self._settings.state_resource in node.resources for node in nodes)

    def namespaces(self) -> str:
        """Every named actor of the cluster, and where it lives."""
        mine = self._settings.ray_namespace
        where: dict[str, list[str]] = defaultdict(list)
        for actor in ray.util.list_named_actors(all_namespaces=True):
            where[actor["name"]].append(actor["namespace"])
        problems = []
        for row in singletons(self._settings):
            if mine not in where[row.name]:
                others = ", ".join(map(repr, where[row.name]))
                problems.append(
                    f"'{row.name}' lives in {others}, your RAY_NAMESPACE is '{mine}': use one everywhere"
                    if others
                    else f"'{row.name}' lives nowhere: `make bootstrap` creates it"
                )
        if problems:
            raise CheckError("; ".join(problems) + ".")
        return "; ".join(
            f"{name} in {', '.join(map(repr, spaces))}" for name, spaces in sorted(where.items()) if spaces
        )

    def state(self) -> str:
        """The volume has room, is whole and is the actors' to write."""
        if not self._nodes_with_state():
            raise DoesNotApplyError("no node offers it")
        task: Any = ray.remote(num_cpus=0, resources={self._settings.state_resource: STATE_SHARE})(look_at_state)
        try:
            found: State = ray.get(task.remote(self._settings.state_dir), timeout=TASK_TIMEOUT_S)
        except GetTimeoutError as error:
            raise CheckError(
                f"the node that offers it did not answer within {TASK_TIMEOUT_S:g} s. `make logs S=ray-worker`."
            ) from error
        if found.damaged:
            raise CheckError(
                f"{'; '.join(found.damaged)}. `make restore` brings a backup back; "
                "`make reload-actors ARGS=--all` salvages what can be read."
            )
        if found.not_writable:
            raise CheckError(
                f"user {found.user_id} cannot write {', '.join(found.not_writable)}. Correct owner and mode."
            )
        facts = (
            f"{found.bytes_used / 1e6:.1f} MB, {found.bytes_free / 1e9:.1f} GB free, written by user {found.user_id}"
        )
        if found.bytes_free < MIN_FREE_BYTES:
            raise CheckError(f"{facts}. Free space on its disk; `docker system df` shows what Docker holds.")
        return facts


def main() -> int:
    """Run all checks."""
    try:
        settings = join_cluster()
    except (SeedCoreError, SettingsError) as error:
        print(f"{error}")
        return 1
    return 0 if run_checks(DoctorOfCluster(settings).checks(), as_json=True) else 1


if __name__ == "__main__":
    sys.exit(main())
