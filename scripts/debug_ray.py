"""Attaches a terminal to a `breakpoint()` in a task or actor of this node, for `make debug-ray`.

Of several that wait, `ray debug` attaches to another one than it shows under that index.

python -m scripts.debug_ray [--hosts]
"""

import argparse
import json
import socket
import sys
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import ray
from ray._common.network_utils import parse_address  # type: ignore[attr-defined]
from ray._private.ray_constants import KV_NAMESPACE_PDB
from ray.experimental.internal_kv import _internal_kv_get, _internal_kv_list
from ray.scripts.scripts import continue_debug_session
from ray.util import rpdb

from scripts.cluster_session import join_cluster
from seedcore.errors import SeedCoreError
from seedcore.settings import SettingsError

Session = Mapping[str, Any]  # as `ray.util.rpdb` notes it


def main(argv: list[str]) -> int:
    """Attach to one after the other, until Ctrl-D."""
    parser = argparse.ArgumentParser(prog="python -m scripts.debug_ray", description=__doc__.partition("\n")[0])
    parser.add_argument("--hosts", action="store_true", help="print the host of each that waits, the newest first")
    only_hosts = parser.parse_args(argv).hosts
    try:
        join_cluster()
    except (SeedCoreError, SettingsError) as error:
        print(f"❌ {error}", file=sys.stderr)
        return 1
    if only_hosts:
        for host, _ in _waiting():
            print(host)
        return 0
    while True:
        continue_debug_session(_live_jobs())  # with `remote` the next task has it
        waiting = _waiting()
        here = [session for host, session in waiting if host == socket.gethostname()]
        _show(here, len(waiting) - len(here))
        try:
            answer = input("Index of a breakpoint, or Enter to look again: ")
        except EOFError:
            print()
            return 0
        if answer:
            _attach(here, answer)


def _live_jobs() -> set[str]:
    return {job["JobID"] for job in ray._private.state.jobs() if not job["IsDead"]}  # type: ignore[no-untyped-call]


def _waiting() -> list[tuple[str, Session]]:
    """The host and what is noted of each breakpoint at which somebody waits, the newest first."""
    keys = _internal_kv_list("RAY_PDB_", namespace=KV_NAMESPACE_PDB)
    noted = [_internal_kv_get(key, namespace=KV_NAMESPACE_PDB) for key in keys]
    sessions = [json.loads(data) for data in noted if data]  # one may have gone on meanwhile
    jobs = _live_jobs()
    hosts = {node["NodeID"]: node["NodeManagerHostname"] for node in ray.nodes()}  # type: ignore[no-untyped-call]
    found = [
        (hosts[session["node_id"]], session)
        for session in sessions
        if "pdb_address" in session and session["job_id"] in jobs and session["node_id"] in hosts
    ]
    return sorted(found, key=lambda one: one[1]["timestamp"], reverse=True)


def _show(here: list[Session], elsewhere: int) -> None:
    print("\nNobody waits at a breakpoint on this node." if not here else "\nThese wait at a breakpoint:")
    for index, session in enumerate(here):
        since = datetime.fromtimestamp(session["timestamp"]).astimezone()
        print(f"  {index}  since {since:%H:%M:%S}  {session['proctitle']}  {session['filename']}:{session['lineno']}")
    if elsewhere:
        print(f"{elsewhere} more on other nodes: leave with Ctrl-D, `make debug-ray` then goes to the newest.")


def _attach(here: list[Session], answer: str) -> None:
    try:
        session = here[int(answer)]
    except (ValueError, IndexError):
        print(f"{answer!r} is none of them")
        return
    host, port = parse_address(session["pdb_address"])
    try:
        rpdb._connect_pdb_client(host, int(port))  # type: ignore[no-untyped-call]
    except ConnectionRefusedError:  # it is noted before it listens
        print("it does not listen yet, or does not wait any more")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
