"""Verbs of a cluster of several machines."""

import os
import socket
import sys
import time
from argparse import Namespace
from getpass import getpass
from pathlib import Path
from typing import Final

from scripts.host.choose_runtime import remember_start, running, runtime_in_use, runtime_to_start
from scripts.host.cluster_network import ports_of_node
from scripts.host.dialogue import next_step
from scripts.host.runtime import HEAD, WORKER, StackError
from scripts.host.settings import HostSettings
from scripts.host.started import forget, last_start
from scripts.host.token_file import ensure_token, write_token
from seedcore.settings import AuthMode

ANY_PORT: Final = 9  # to ask for the way to an address nothing is sent


def cluster_ports(settings: HostSettings, arguments: Namespace) -> int:
    """List the ports that a firewall between the machines must let through."""
    workers = settings.ray_worker_replicas
    theirs = (ports_of_node(settings, WORKER)[0], ports_of_node(settings, WORKER, workers)[-1])
    ours = (ports_of_node(settings, HEAD)[0], theirs[1])
    gcs_port = settings.head_address.rpartition(":")[2]
    print("TCP, from each machine of the cluster to each other one:")
    print(f"  to the head's machine  {gcs_port}, {settings.ray_client_port}, {ours[0]}-{ours[1]}")
    print(f"  to each other one      {theirs[0]}-{theirs[1]}")
    return next_step("to nobody else: whoever has the token and reaches these ports can run code on the machines")


def invite(settings: HostSettings, arguments: Namespace) -> int:
    """Say how another machine joins this stack."""
    running(settings)
    if not settings.cluster_address:
        raise StackError(
            "this stack is for this machine only. `make up CLUSTER_ADDRESS=ADDRESS`, or CLUSTER_ADDRESS in .env, with "
            "the address at which the others reach this machine."
        )
    print(
        "In a clone of this project on the other machine, with the same code:\n\n"
        f"    make join HEAD={settings.cluster_address}\n\n"
        "It asks for the token, which `make token` shows here. From here, so that it is never seen:\n\n"
        f"    make token | ssh OTHER 'cd CLONE && make join HEAD={settings.cluster_address}'"
    )
    return next_step("`make cluster-ports` lists what a firewall between the two must let through")


def join(settings: HostSettings, arguments: Namespace) -> int:
    """Offer this machine's CPUs to the stack of another one."""
    began = time.monotonic()
    head = arguments.head
    own = settings.cluster_address or _address_towards(head)
    joined = settings.model_copy(update={"cluster_head": head, "cluster_address": own})
    started = last_start(settings.compose_project_name)
    is_joined = started is not None and started.knobs.get("CLUSTER_HEAD") == head
    if not is_joined and runtime_in_use(settings).is_up():
        raise StackError("a stack runs here already: `make down`, or `make leave`, first.")
    if settings.ray_auth_mode is AuthMode.TOKEN:
        _take_token(settings.ray_auth_token_path, head)
    choice = runtime_to_start(joined)
    print(f"runtime: {choice.runtime.name} ({choice.reason})")
    print(f"address: {own} (it leads to {head}; CLUSTER_ADDRESS= takes another)")
    choice.runtime.prepare()
    first = ports_of_node(joined, WORKER)[0]
    last = ports_of_node(joined, WORKER, joined.ray_worker_replicas)[-1]
    if not choice.runtime.is_up():
        with Path(os.devnull).open("rb") as nothing:
            ports = [str(port) for port in (joined.ray_client_port, first, last)]
            sys.stdout.flush()
            if choice.runtime.run_with_state("scripts.join_checks", ports, stdin=nothing, stdout=None):
                raise StackError("this machine was not joined, and nothing was started. Do what the ❌ lines say.")
    choice.runtime.up(lambda: remember_start(joined, choice.runtime))  # of what changed, if it fails later
    remember_start(joined, choice.runtime)
    cpus = joined.ray_worker_cpus * joined.ray_worker_replicas
    took_s = time.monotonic() - began
    print(f"\nThis machine works for {head} after {took_s:.1f} s, with {cpus} CPUs (RAY_WORKER_CPUS)")
    return next_step("`make monitor` at the head shows its nodes; `make leave` here ends it")


def leave(settings: HostSettings, arguments: Namespace) -> int:
    """Leave the stack of the other machine, when what runs here is done."""
    runtime = running(settings)
    if not settings.cluster_head:
        raise StackError("this machine has joined no other one's stack. `make down` stops its own.")
    if runtime.run_module(WORKER, "scripts.drain_node", []):
        print("it leaves without: what runs here ends now, and Ray runs it again elsewhere", file=sys.stderr)
    runtime.down(remove_state=False)
    if not runtime.has_items():  # of the stack that ran here before
        forget(settings.compose_project_name)
    return next_step(f"`make join HEAD={settings.cluster_head}` joins it again")


def _address_towards(host: str) -> str:
    """The address of this machine that leads to another one."""
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as way:
            way.connect((host, ANY_PORT))
            return str(way.getsockname()[0])
    except OSError as error:
        raise StackError(
            f"no way leads to HEAD={host}: {error}. `ip route get {host}` shows what this machine tries."
        ) from error


def _take_token(path: Path, head: str) -> None:
    """The token of the cluster, typed, or from a pipe; without either the one that is here."""
    if sys.stdin.isatty():
        token = getpass(f"Token of {head} (`make token` shows it there; empty: the one that is here): ")
    else:
        print(f"Token of {head}: a line from standard input, or its end for the one that is here", flush=True)
        token = sys.stdin.readline()
    if token.strip():
        write_token(path, token.strip())
    ensure_token(path)
