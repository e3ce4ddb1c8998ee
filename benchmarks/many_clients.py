"""Works that several processes do: clients at once, and HTTP from outside by wrk."""

import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from typing import Final

import httpx

from benchmarks.measure import Timing
from benchmarks.works import ORGAN, REDIS, SEEDCORE, SMALL, Systems
from scripts.host.runtime import StackError

CLIENTS: Final = (1, 2, 4)
EMPTY_ROUTE: Final = "empty route"
HTTP_GET: Final = "HTTP get of a small item"
HTTP_PUT: Final = "HTTP put of a small item"
CONNECTIONS: Final = 16
ITEM: Final = f"/organs/{ORGAN}/items/item"
PUT: Final = f"""
wrk.method = "PUT"
wrk.body = [[{json.dumps({"value": SMALL})}]]
wrk.headers["Content-Type"] = "application/json"
"""  # a script of wrk


def clients_at_once(systems: Systems, number: int, seconds: float) -> dict[str, Timing]:
    """So many processes get one item."""
    address = f"127.0.0.1:{systems.redis_ports.durable}"
    return {
        system: clients([[sys.executable, "-m", "benchmarks.client", system, address]] * number, seconds)
        for system in (SEEDCORE, REDIS)
    }


def clients(commands: Sequence[Sequence[str]], seconds: float) -> Timing:
    """What some `benchmarks.client` do together.

    Raises:
        StackError: one does not start.
    """
    running = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for command in commands
    ]
    try:
        for command, client in zip(commands, running, strict=True):
            if client.stdout is None or "ready" not in client.stdout.readline():
                raise StackError(f"`{' '.join(command)}` did not start, as it says above")
        for client in running:
            if client.stdin is not None:
                client.stdin.write(f"{seconds}\n")
                client.stdin.flush()
        done = sum(int(client.communicate()[0]) for client in running)
    finally:
        for client in running:
            client.kill()
            client.wait()
    return Timing(done, [seconds])


def http(work: str, url: str, seconds: float, rounds: int) -> dict[str, Timing]:
    """An item of the API that is got or put, and a get of a route of the same server that does nothing, in turns.

    Raises:
        StackError: wrk is not installed.
    """
    httpx.put(url + ITEM, json={"value": SMALL}).raise_for_status()
    timings = {SEEDCORE: Timing(1), EMPTY_ROUTE: Timing(1)}  # of one request, the mean of a round
    for _ in range(rounds):
        timings[SEEDCORE].seconds.append(1 / requests(work, url, seconds / rounds))
        timings[EMPTY_ROUTE].seconds.append(1 / _wrk(f"{url}/healthz", seconds / rounds, []))
    return timings


def requests(work: str, url: str, seconds: float) -> float:
    """How many a second the API answers that get or put an item.

    Raises:
        StackError: as `http`.
    """
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as put:
        put.write(PUT)
        put.flush()
        return _wrk(url + ITEM, seconds, [f"--script={put.name}"] if work == HTTP_PUT else [])


def _wrk(url: str, seconds: float, options: list[str]) -> float:
    """Requests per second that were answered well."""
    if shutil.which("wrk") is None:
        raise StackError("wrk is not installed: `apt-get install wrk`")
    duration = f"--duration={max(1, round(seconds))}s"
    command = ["wrk", "--threads=1", f"--connections={CONNECTIONS}", duration, *options, url]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    if "Non-2xx" in said:
        raise StackError(f"{url} answered with errors:\n{said}")
    found = re.search(r"Requests/sec:\s+([0-9.]+)", said)
    if found is None:
        raise StackError(f"wrk did not say what it measured:\n{said}")
    return float(found[1])
