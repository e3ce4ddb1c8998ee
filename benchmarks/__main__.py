"""`make bench`: starts a stack of its own and its peers, does each work on each of them in turns, and reports."""

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.progress import Progress

from benchmarks import growth_report, machines, profile_report, report, stack_times
from benchmarks.growth import Growth
from benchmarks.measure import Timing
from benchmarks.peers import DURABLE, redis_server
from scripts.host.local_runtime import LocalRuntime
from scripts.host.ports import LOOPBACK, free_port, free_ports
from scripts.host.runtime import API, LOCAL_DIR, StackError
from scripts.host.settings import load_host_settings
from scripts.host.token_file import ensure_token
from seedcore.settings import SettingsError

MACHINES: Final = "machines"
AGENTS: Final = 2  # of the head and of the worker


def own_ports() -> dict[str, str]:
    """Knobs of a stack that meets no other one on this machine."""
    return {
        "COMPOSE_PROJECT_NAME": stack_times.PROJECT,
        "RUNTIME": "local",
        "API_PORT": str(free_port()),
        "DASHBOARD_PORT": str(free_port()),
        "RAY_ADDRESS": f"{LOOPBACK}:{free_port()}",
        "RAY_CLIENT_PORT": str(free_port()),
        "RAY_AGENT_PORT": str(free_ports(AGENTS)),
        "LOG_LEVEL": "WARNING",
    }


def in_process_works(is_quick: bool, only: str) -> dict[str, dict[str, Timing]]:
    """The works of one client process, on the embedded stack of this checkout."""
    found = _in_process(f"--only={only}", *(["--quick"] if is_quick else []))
    return {work: {system: Timing(**timing) for system, timing in timings.items()} for work, timings in found.items()}


def _in_process(*options: str) -> Any:
    """What `benchmarks.in_process` wrote."""
    with (
        tempfile.TemporaryDirectory() as name,
        redis_server(*DURABLE) as redis_port,
        redis_server() as volatile_port,
    ):
        output = Path(name) / "timings.json"
        ports = [f"--redis-port={redis_port}", f"--volatile-redis-port={volatile_port}"]
        _on_own_stack("benchmarks.in_process", [*ports, f"--output={output}", *options])
        return json.loads(output.read_text())


def growth(is_quick: bool) -> Growth:
    """How costs grow, on the embedded stack of this checkout."""
    with tempfile.TemporaryDirectory() as name:
        output = Path(name) / "growth.json"
        _on_own_stack("benchmarks.growth", [f"--output={output}", *(["--quick"] if is_quick else [])])
        return Growth(**json.loads(output.read_text()))


def _on_own_stack(module: str, arguments: list[str]) -> None:
    os.environ.update(own_ports())
    settings = load_host_settings()
    ensure_token(settings.ray_auth_token_path)
    runtime = LocalRuntime(settings)
    try:
        runtime.up()
        if runtime.run_module(API, module, arguments):
            raise StackError("the benchmark did not end well, as it says above")
    finally:
        runtime.down(remove_state=True)


def main() -> int:
    """Measure, print the table, write Markdown and a picture."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a minute's run, without the stack on Docker")
    parser.add_argument("--growth", action="store_true", help="how costs grow with items, bytes and clients, instead")
    parser.add_argument("--profile", action="store_true", help="where the time and the memory go, instead")
    parser.add_argument("--only", default="", help="works whose names contain this; machines: those of several")
    parser.add_argument("--against", type=Path, help="bench.json of an earlier run, which this one is compared with")
    parser.add_argument("--report", type=Path, default=LOCAL_DIR / "bench", help="folder of the report")
    arguments = parser.parse_args()
    figures: dict[str, float] = {}
    try:
        before = json.loads(arguments.against.read_text()) if arguments.against else {}
    except (OSError, ValueError) as error:
        print(f"--against={arguments.against} is no bench.json of an earlier run: {error}", file=sys.stderr)
        return 1
    try:
        if arguments.growth:
            growth_report.write(arguments.report, growth(arguments.quick))
            print(f"\nThe tables and the picture are in {arguments.report}.")
            return 0
        if arguments.profile:
            profile_report.write(arguments.report, _in_process("--profile"), *stack_times.profile())
            print(f"\nThe tables are in {arguments.report}.")
            return 0
        results = in_process_works(arguments.quick, arguments.only) if arguments.only != MACHINES else {}
        if not (arguments.quick or arguments.only):
            with Progress() as progress:
                stack_works, figures = stack_times.measure(progress)
            results.update(stack_works)
        if arguments.only == MACHINES or not (arguments.quick or arguments.only):
            if missing := machines.missing():
                print(f"several machines are left out: they need {missing}", file=sys.stderr)
            else:
                of_machines, tasks = machines.measure()
                results.update(of_machines)
                figures.update(tasks)
    except (StackError, SettingsError) as error:
        print(error, file=sys.stderr)
        return 1
    report.show(Console(), results, figures, before)
    report.write(arguments.report, results, figures)
    print(f"\nThe table and the picture are in {arguments.report}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
