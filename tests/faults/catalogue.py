"""The faults. Each function injects one into a stack under load and returns when nothing is left to be repaired."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from docker.models.containers import Container

from tests.faults.harness import Fault, FaultRun
from tests.faults.stack import API, ENGINE, HEAD, SINGLETONS, WORKER, FaultStack, health, restart_count
from tests.waiting import wait_until

# How long a client may at most be without a good answer, in seconds.
HEAD_S: Final = 3.0  # nothing waits for the head; a request may take that long while a busy machine starts one
ACTOR_S: Final = 6.0  # Ray starts a process for it, which imports Ray; the promise is 3 s, a busy machine takes longer
WORKER_S: Final = 20.0  # a container, a Ray node in it, then the actors
API_S: Final = 20.0  # a container, a Ray node in it, then uvicorn
BOOTSTRAP_S: Final = 20.0  # until somebody types `make bootstrap`, and what that takes
NETWORK_S: Final = 60.0  # TCP doubles the time between its tries, and so notices late that the network is back
ENGINE_S: Final = 10.0  # a container, and what it reads from its file
STACK_S: Final = 60.0  # all of it, in order

DISK_DELAY_S: Final = 0.05  # of each write and fsync; a disk that spins, under load
SLOW_DISK_S: Final = 10.0  # a write makes several such calls, and waits for the one before
EATS_MEMORY: Final = """
import ray
from seedcore.cluster.connection import connect

@ray.remote(num_cpus=1)
class Application:
    def eat(self):
        eaten = []
        while True:
            eaten.append(b"x" * 2**26)

connect()
try:
    ray.get(Application.remote().eat.remote())
except ray.exceptions.RayError as error:
    print(error)
"""


def kill_each_actor(stack: FaultStack, run: FaultRun) -> None:
    for name in SINGLETONS:
        _kill_actors(stack, run, name)


def kill_all_actors(stack: FaultStack, run: FaultRun) -> None:
    _kill_actors(stack, run, *SINGLETONS)


def kill_an_actor_ten_times(stack: FaultStack, run: FaultRun) -> None:
    for _ in range(10):
        _kill_actors(stack, run, "mw")


def kill_an_actor_for_good_and_bootstrap(stack: FaultStack, run: FaultRun) -> None:
    with _replaced(stack, "mw"):
        run.mark("ray.kill")
        stack.kill_for_good("mw")
        stack.project.make("bootstrap")


def kill_an_actor_for_good_and_create_it_on_demand(stack: FaultStack, run: FaultRun) -> None:
    with _replaced(stack, "mw"):
        run.mark("ray.kill")
        stack.kill_for_good("mw")


def kill_the_worker(stack: FaultStack, run: FaultRun) -> None:
    run.mark("SIGKILL")
    stack.kill(stack.container(WORKER))
    _wait_for_recovery(stack, run)


def kill_the_raylet(stack: FaultStack, run: FaultRun) -> None:
    run.mark("SIGKILL")
    stack.kill_process(WORKER, "raylet")
    _wait_for_recovery(stack, run)


def kill_one_of_two_workers(stack: FaultStack, run: FaultRun) -> None:
    stack.project.make("scale", "N=2")
    run.mark("SIGKILL")
    stack.kill(stack.holder("mw"))
    _wait_for_recovery(stack, run)
    run.mark("down to one")
    stack.project.make("scale", "N=1")
    _wait_for_recovery(stack, run)


def pause_the_worker(stack: FaultStack, run: FaultRun) -> None:
    _pause(stack, run, WORKER, 20)


def head_dead_for_90_s(stack: FaultStack, run: FaultRun) -> None:
    with _same_actors(stack):
        head = stack.container(HEAD)
        run.mark("SIGKILL")
        head.kill()  # by the engine, so that it stays dead
        assert health(head) == "down"
        api = stack.container(API)
        began, used = time.monotonic(), _cpu_seconds(api)
        while time.monotonic() < began + 90:
            answer = stack.project.api.get("/readyz")
            assert answer.status_code == 200, f"the actors do answer, but /readyz says {answer.text}"
            time.sleep(2)
        assert _cpu_seconds(api) - used < 90 * 0.7  # it does not spin for want of a head
        run.mark("start")
        head.start()
        _wait_for_recovery(stack, run)


def kill_the_gcs(stack: FaultStack, run: FaultRun) -> None:
    with _same_actors(stack):
        run.mark("SIGKILL")
        stack.kill_process(HEAD, "gcs_server")
        wait_until(lambda: health(stack.container(HEAD)) != "healthy")
        _wait_for_recovery(stack, run)


def pause_the_head(stack: FaultStack, run: FaultRun) -> None:
    with _same_actors(stack):
        _pause(stack, run, HEAD, 30)


def kill_the_api(stack: FaultStack, run: FaultRun) -> None:
    run.mark("SIGKILL")
    stack.kill(stack.container(API))
    _wait_for_recovery(stack, run)


def restart_the_api(stack: FaultStack, run: FaultRun) -> None:
    run.mark("make restart")
    stack.project.make("restart")


def cut_head_from_worker_20_s(stack: FaultStack, run: FaultRun) -> None:
    _cut(stack, run, HEAD, 20)


def cut_head_from_worker_90_s(stack: FaultStack, run: FaultRun) -> None:
    _cut(stack, run, HEAD, 90)


def cut_api_from_worker_20_s(stack: FaultStack, run: FaultRun) -> None:
    _cut(stack, run, API, 20)


def cut_api_from_worker_90_s(stack: FaultStack, run: FaultRun) -> None:
    _cut(stack, run, API, 90)


def disconnect_the_worker(stack: FaultStack, run: FaultRun) -> None:
    _disconnect(stack, run, WORKER)


def disconnect_the_api(stack: FaultStack, run: FaultRun) -> None:
    _disconnect(stack, run, API)


def power_cut(stack: FaultStack, run: FaultRun) -> None:
    killed = [stack.container(service) for service in (HEAD, WORKER, API)]
    restarts = [restart_count(container) for container in killed]
    run.mark("SIGKILL")
    stack.kill(*killed)
    stack.project.make("up")
    _wait_for_recovery(stack, run)
    # All start at the same moment, and none is in another's way.
    again = [restart_count(container) - before for container, before in zip(killed, restarts, strict=True)]
    assert max(again) <= 1, f"Docker had to start them more than once: {again}"


def bootstrap_killed_half_way(stack: FaultStack, run: FaultRun) -> None:
    run.mark("ray.kill")
    for name in SINGLETONS:
        stack.kill_for_good(name)
    bootstrap = stack.start_bootstrap()
    wait_until(lambda: "Ray initialized" in bootstrap.logs().decode())
    bootstrap.kill()
    run.mark("bootstrap killed")
    bootstrap.remove()
    stack.project.make("bootstrap")
    _wait_for_recovery(stack, run)


def two_bootstraps_and_one_killed(stack: FaultStack, run: FaultRun) -> None:
    run.mark("ray.kill")
    for name in SINGLETONS:
        stack.kill_for_good(name)
    first, second = stack.start_bootstrap(), stack.start_bootstrap()
    wait_until(lambda: "Ray initialized" in first.logs().decode())
    first.kill()
    run.mark("one killed")
    assert second.wait(timeout=60)["StatusCode"] == 0, second.logs().decode()
    for bootstrap in (first, second):
        bootstrap.remove()
    _wait_for_recovery(stack, run)


def slow_disk(stack: FaultStack, run: FaultRun) -> None:
    with _same_actors(stack):
        run.mark("slow")
        with stack.slow_disk("mw", DISK_DELAY_S):
            began = time.monotonic()
            for number in range(20):
                asked = time.monotonic()
                stack.project.put("slow-disk", "item", number)
                assert time.monotonic() - asked > DISK_DELAY_S  # the fault is there
            run.mark(f"{(time.monotonic() - began) / 20:.2f} s a write")


def memory_pressure(stack: FaultStack, run: FaultRun) -> None:
    with _same_actors(stack):
        run.mark("an actor eats memory")
        told = stack.in_api(EATS_MEMORY)
        run.mark("killed")
        assert "memory" in told, told
        wait_until(lambda: "WORKER_MEMORY in .env is the limit" in stack.project.make("logs", "S=ray-worker"))
        _wait_for_recovery(stack, run)


def kill_the_engine(stack: FaultStack, run: FaultRun) -> None:
    run.mark("SIGKILL")
    stack.kill(stack.container(ENGINE))
    stack.wait_until_healthy(ENGINE)
    run.mark("healthy")


def kill_the_engine_five_times(stack: FaultStack, run: FaultRun) -> None:
    for _ in range(5):
        kill_the_engine(stack, run)


def pause_the_engine(stack: FaultStack, run: FaultRun) -> None:
    with _same_actors(stack):
        _pause(stack, run, ENGINE, 20)


def disconnect_the_engine(stack: FaultStack, run: FaultRun) -> None:
    with _same_actors(stack):
        _disconnect(stack, run, ENGINE)


def _cpu_seconds(container: Container) -> float:
    return float(container.stats(stream=False)["cpu_stats"]["cpu_usage"]["total_usage"]) / 1e9


def _kill_actors(stack: FaultStack, run: FaultRun, *names: str) -> None:
    with _replaced(stack, *names):
        run.mark("SIGKILL")
        stack.kill_actors(*names)


@contextmanager
def _replaced(stack: FaultStack, *names: str) -> Iterator[None]:
    """Afterwards each of these singletons has another process."""
    before = {name: stack.actor(name)["pid"] for name in names}
    yield
    wait_until(lambda: all(stack.actor(name)["pid"] not in (None, before[name]) for name in names))


@contextmanager
def _same_actors(stack: FaultStack) -> Iterator[None]:
    """No singleton has another process afterwards."""
    before = stack.project.actors()
    yield
    assert stack.project.actors() == before


def _pause(stack: FaultStack, run: FaultRun, service: str, seconds: float) -> None:
    container = stack.container(service)
    run.mark("pause")
    container.pause()
    try:
        time.sleep(seconds)
    finally:
        run.mark("unpause")
        container.unpause()
    _wait_for_recovery(stack, run)


def _cut(stack: FaultStack, run: FaultRun, service: str, seconds: float) -> None:
    run.mark("cut")
    with stack.cut(stack.container(WORKER), stack.container(service)):
        time.sleep(seconds)
    run.mark("healed")
    _wait_for_recovery(stack, run)


def _disconnect(stack: FaultStack, run: FaultRun, service: str) -> None:
    run.mark("disconnect")
    with stack.disconnected(stack.container(service)):
        time.sleep(20)
    run.mark("connect")
    _wait_for_recovery(stack, run)


def _wait_for_recovery(stack: FaultStack, run: FaultRun) -> None:
    for service in (HEAD, WORKER, API):
        stack.wait_until_healthy(service)
    stack.wait_until_ready()
    run.mark("healthy")


FAULTS: Final[tuple[Fault[FaultStack], ...]] = (
    Fault("SIGKILL of each singleton's process", kill_each_actor, ACTOR_S),
    Fault("SIGKILL of all three singletons' processes at once", kill_all_actors, ACTOR_S),
    Fault("SIGKILL of a singleton's process, ten times in a row", kill_an_actor_ten_times, ACTOR_S),
    Fault(
        "`ray.kill` of a singleton for good, then `make bootstrap`",
        kill_an_actor_for_good_and_bootstrap,
        BOOTSTRAP_S,
        may_fail=True,
    ),
    Fault(
        "`ray.kill` of a singleton for good, with `AUTO_CREATE=1`",
        kill_an_actor_for_good_and_create_it_on_demand,
        BOOTSTRAP_S,
        may_fail=True,
        knobs={"AUTO_CREATE": "1"},
        only_on="sqlite",  # elsewhere nobody needs it to read or write
    ),
    Fault("SIGKILL of the worker container", kill_the_worker, WORKER_S),
    Fault("SIGKILL of the worker's raylet", kill_the_raylet, WORKER_S),
    Fault("SIGKILL of the one of two workers that holds `mw`", kill_one_of_two_workers, WORKER_S),
    Fault("worker paused for 20 s", pause_the_worker, 20 + ACTOR_S),
    Fault("SIGKILL of the head container, 90 s without it", head_dead_for_90_s, HEAD_S),
    Fault("SIGKILL of the control plane (GCS) in the head", kill_the_gcs, HEAD_S),
    Fault("head paused for 30 s", pause_the_head, HEAD_S),
    Fault("SIGKILL of the API container", kill_the_api, API_S, may_fail=True),
    Fault("`make restart` of the API", restart_the_api, API_S, may_fail=True),
    Fault("network between head and worker cut for 20 s", cut_head_from_worker_20_s, HEAD_S),
    Fault("network between head and worker cut for 90 s", cut_head_from_worker_90_s, 90 + WORKER_S, may_fail=True),
    Fault("network between API and worker cut for 20 s", cut_api_from_worker_20_s, 20 + NETWORK_S),
    Fault("network between API and worker cut for 90 s", cut_api_from_worker_90_s, 90 + NETWORK_S, may_fail=True),
    Fault("worker off the network for 20 s", disconnect_the_worker, 20 + WORKER_S),
    Fault("API off the network for 20 s", disconnect_the_api, 20 + API_S, may_fail=True),
    Fault("bootstrap killed half-way, then `make bootstrap`", bootstrap_killed_half_way, BOOTSTRAP_S, may_fail=True),
    Fault("two bootstraps at once, one killed", two_bootstraps_and_one_killed, BOOTSTRAP_S, may_fail=True),
    Fault("an application actor eats all memory of the worker", memory_pressure, ACTOR_S),
    Fault("each write and fsync 50 ms late", slow_disk, SLOW_DISK_S, only_on="sqlite"),
    Fault("SIGKILL of the engine of the memory", kill_the_engine, ENGINE_S, only_on="valkey"),
    Fault("SIGKILL of the engine, five times in a row", kill_the_engine_five_times, ENGINE_S, only_on="valkey"),
    Fault("engine of the memory paused for 20 s", pause_the_engine, 20 + ENGINE_S, only_on="valkey"),
    Fault("engine off the network for 20 s", disconnect_the_engine, 20 + ENGINE_S, only_on="valkey"),
    Fault("SIGKILL of all containers at once, then `make up`", power_cut, STACK_S, may_fail=True),
)
