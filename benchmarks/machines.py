"""What several machines cost and bring: calls over a line between two, tasks and gets on one, two and three."""

import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Final

from benchmarks.many_clients import clients
from benchmarks.measure import Timing
from benchmarks.peers import DURABLE
from benchmarks.works import ON_VALKEY, REDIS, SEEDCORE
from scripts.host.runtime import StackError
from tests.machines.machine import Machine, Switch

MACHINES: Final = 3
TASKS: Final = 100
TASK_S: Final = 0.05  # that each waits, since all machines here are one
RUN_TASKS: Final = f"""
import time
import ray

@ray.remote(num_cpus=1, scheduling_strategy="SPREAD")
def work():
    time.sleep({TASK_S})

ray.init(logging_level="ERROR")
for _ in range(2):  # the first time starts the processes
    began = time.perf_counter()
    ray.get([work.remote() for _ in range({TASKS})])
print("seconds", time.perf_counter() - began)
"""


PUT_ITEM: Final = """
import redis
from benchmarks.works import ORGAN, SMALL, manager_at
from seedcore import MwManager
from seedcore.store.values.codec import encode

MwManager(ORGAN).set_item("item", SMALL)
manager_at("valkey://{address}").set_item("item", SMALL)
redis.Redis.from_url("redis://{address}").set("item", encode(SMALL))
"""
REDIS_PORT: Final = "7001"
GETS_S: Final = 10.0


def missing() -> str:
    """What keeps this machine from having others inside; empty if nothing does."""
    commands = [command for command in ("ip", "unshare", "nsenter", "redis-server") if not shutil.which(command)]
    return "root" if os.getuid() else ", ".join(commands)


def measure() -> tuple[dict[str, dict[str, Timing]], dict[str, float]]:
    """Times of the works by system, and tasks and gets a second.

    Raises:
        StackError: a machine does not come up.
    """
    results: dict[str, dict[str, Timing]] = {}
    figures = {}
    machines: list[Machine] = []
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name, Switch():
        try:
            for number in range(1, MACHINES + 1):
                machines.append(_joined(Path(name) / str(number), number, machines[0] if machines else None))
                if number == 1:
                    address = _start_redis(machines[0], Path(name))
                if number == 2:
                    results = _calls(machines[1], address, Path(name) / "timings.json")
                printed = str(machines[0].python(RUN_TASKS))
                seconds = float(printed.partition("seconds ")[2].split()[0])
                figures[f"tasks a second on {number} machine(s), each waits {TASK_S * 1000:g} ms"] = TASKS / seconds
                for system in (SEEDCORE, ON_VALKEY, REDIS):
                    figures[f"gets a second by {number} machine(s), {system}"] = _gets(machines, system, address)
        except AssertionError as error:
            raise StackError(str(error)) from error
        finally:
            for machine in reversed(machines):
                machine.remove()
    return results, figures


def _joined(folder: Path, number: int, head: Machine | None) -> Machine:
    """A new machine, with the stack, or joined to it."""
    machine = Machine(number, folder)
    machine.boot()
    if head is None:
        machine.make("up", f"CLUSTER_ADDRESS={machine.address}", "RAY_WORKER_CPUS=2")
    else:
        machine.make("join", f"HEAD={head.address}", "RAY_WORKER_CPUS=2", stdin=head.token)
    return machine


def _start_redis(head: Machine, folder: Path) -> str:
    """On the head's machine; its host and port. Both it and the stack have the item that is got."""
    with (folder / "redis.log").open("wb") as log:
        options = ["--port", REDIS_PORT, "--protected-mode", "no", "--dir", str(folder), *DURABLE]
        head.start("redis-server", *options, log=log)
    address = f"{head.address}:{REDIS_PORT}"
    head.python(PUT_ITEM.format(address=address))
    return address


def _gets(machines: list[Machine], system: str, address: str) -> float:
    """A second, by one process on each."""
    commands = [machine.command(*machine.in_stack("benchmarks.client", system, address)) for machine in machines]
    return clients(commands, GETS_S).per_second


def _calls(machine: Machine, address: str, output: Path) -> dict[str, dict[str, Timing]]:
    done = machine.run(*machine.in_stack("benchmarks.from_machine", str(output), address))
    if done.returncode:
        raise StackError(done.stdout)
    return {
        work: {system: Timing(**timing) for system, timing in timings.items()}
        for work, timings in json.loads(output.read_text()).items()
    }
