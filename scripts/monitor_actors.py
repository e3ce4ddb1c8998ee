"""Shows the state of each singleton actor. Exit code 0 when all run, 1 otherwise."""

import argparse
import json
import logging
import sys
import time
from dataclasses import asdict
from datetime import timedelta
from typing import Final

from scripts.cluster_session import join_cluster
from seedcore.cluster.status import ActorStatus, NodeStatus, node_statuses, singleton_statuses, staleness
from seedcore.errors import ClusterUnreachableError, SeedCoreError
from seedcore.settings import Settings, SettingsError

WATCH_INTERVAL_S: Final = 2.0
CLEAR_SCREEN: Final = "\033[2J\033[H"
HEADING: Final = "📊 Singleton Actors Status:"


def summary(statuses: list[ActorStatus]) -> str:
    """One line for each actor, and below them what is worth knowing of those that run."""
    lines = [HEADING]
    lines += [f"🎭 {status.class_name}: {state(status)}" for status in statuses]
    lines += ["", *map(details, statuses)]
    return "\n".join(lines)


def state(status: ActorStatus) -> str:
    """Whether it runs, is busy, or why it does not run."""
    if status.busy is not None:
        return f"⏳ {status.reason}"
    return "✅ Running" if status.running else f"❌ {status.reason}"


def details(status: ActorStatus) -> str:
    """Node, process, age, restarts and statistics of one actor."""
    process = status.process
    if process is None:
        return f"{status.name}: {status.reason if status.busy else 'not running'}"
    facts = [
        f"node {process.node_ip} ({process.node_id[:8]})",
        f"pid {process.pid}",
        f"up {timedelta(seconds=round(process.uptime_s))}",
        f"restarts {'unknown' if status.restarts is None else status.restarts}",
        f"code {'unknown' if process.code is None else process.code.running}",
    ]
    for name, value in (status.stats or {}).items():
        if name != "started_at":
            facts.append(f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}")
    facts += [status.reason] if status.reason else []
    facts += [f"⚠️ {staleness(process)}: `make reload-actors`"] if process.is_stale else []
    return f"{status.name}: " + ", ".join(facts)


def machines(nodes: list[NodeStatus], settings: Settings) -> str:
    """A line for each machine, with what it offers, or why it is missed."""
    by_address: dict[str, list[NodeStatus]] = {}
    for node in nodes:
        if node.alive or node.reason:
            by_address.setdefault(f"{node.address} ({node.host_name})", []).append(node)
    return "\n".join(f"💻 {name}: {_offers(of_one, settings)}" for name, of_one in by_address.items())


def _offers(nodes: list[NodeStatus], settings: Settings) -> str:
    if not nodes[0].alive:
        return f"❌ missed: {nodes[-1].reason}"
    cpus, gpus = (sum(node.resources.get(what, 0) for node in nodes) for what in ("CPU", "GPU"))
    facts = [f"{len(nodes)} node(s)", f"{cpus:g} CPUs"]
    facts += [f"{gpus:g} GPUs"] if gpus else []
    facts += ["the singletons"] if any(settings.state_resource in node.resources for node in nodes) else []
    return ", ".join(facts)


def show(settings: Settings, *, as_json: bool) -> bool:
    """Print the state once; whether all actors run."""
    statuses = singleton_statuses(settings, detailed=True)
    nodes, unknown = [], ""
    if settings.cluster_address:
        try:
            nodes = node_statuses(settings)
        except ClusterUnreachableError as error:
            unknown = f"💻 the machines are not known: {error}"
    if as_json:
        found = {
            "namespace": settings.ray_namespace,
            "actors": [asdict(status) for status in statuses],
            "nodes": [asdict(node) for node in nodes],
        }
        print(json.dumps(found, ensure_ascii=False, default=str), flush=True)
    else:
        print(summary(statuses), flush=True)
        if settings.cluster_address:
            print(f"\n{unknown or machines(nodes, settings)}", flush=True)
    return all(status.running for status in statuses)


def watch(settings: Settings, *, as_json: bool) -> bool:
    """Print the state again and again, until it is interrupted; whether all actors ran at last."""
    running = False
    try:
        while True:
            if sys.stdout.isatty():
                print(CLEAR_SCREEN, end="")
            running = show(settings, as_json=as_json)
            time.sleep(WATCH_INTERVAL_S)
    except KeyboardInterrupt:
        return running


def main(argv: list[str]) -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m scripts.monitor_actors", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object instead")
    parser.add_argument("--watch", action="store_true", help=f"print again every {WATCH_INTERVAL_S:g} s, until Ctrl-C")
    arguments = parser.parse_args(argv)
    try:
        settings = join_cluster(logging.WARNING)
    except (SeedCoreError, SettingsError) as error:
        print(f"monitor_actors: {error}", file=sys.stderr)
        return 1
    running = (watch if arguments.watch else show)(settings, as_json=arguments.json)
    return 0 if running else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
