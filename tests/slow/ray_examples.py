"""What people write with Ray, after the chapters of its documentation: `make run M=app.jobs.ray_examples`.

Prints `NAME: ok` for each example, or `NAME: ` and what went wrong.
"""

import asyncio
import os
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import ray
from ray.exceptions import GetTimeoutError, RayActorError, RayTaskError, TaskCancelledError
from ray.util.metrics import Counter
from ray.util.placement_group import placement_group, placement_group_table, remove_placement_group
from ray.util.queue import Queue
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy, PlacementGroupSchedulingStrategy

DEADLINE_S = 180.0
ARRAYS = 12
ARRAY_BYTES = 100_000_000


@ray.remote
def square(number: int) -> int:
    return number * number


@ray.remote
def environment(name: str) -> str | None:
    return os.environ.get(name)


def tasks_depend_on_each_other() -> None:
    assert ray.get(square.remote(square.remote(3))) == 81


def tasks_return_several_values() -> None:
    first, second = ray.remote(num_returns=2)(lambda: (1, 2)).remote()
    assert ray.get([second, first]) == [2, 1]


def a_generator_streams_its_values() -> None:
    @ray.remote
    def count(to: int) -> Iterator[int]:
        for number in range(to):
            yield number + 1

    assert [ray.get(ref) for ref in count.remote(4)] == [1, 2, 3, 4]


def waiting_returns_what_is_ready() -> None:
    slow = ray.remote(num_cpus=0)(lambda: time.sleep(60))
    refs = [square.remote(2), slow.remote()]
    ready, rest = ray.wait(refs, num_returns=1, timeout=DEADLINE_S)
    assert ray.get(ready) == [4]
    try:
        ray.get(rest, timeout=0.1)
    except GetTimeoutError:
        ray.cancel(rest[0], force=True)
    else:
        raise AssertionError("a task that sleeps was done")


def a_cancelled_task_says_so() -> None:
    running = Queue()

    @ray.remote
    def turn() -> None:
        running.put(True)
        while True:  # Ray interrupts between two steps of Python, so a long sleep would go on to its end
            time.sleep(0.1)

    ref = turn.remote()
    running.get(timeout=DEADLINE_S)
    ray.cancel(ref)
    try:
        ray.get(ref, timeout=DEADLINE_S)
    except (TaskCancelledError, RayTaskError):
        running.shutdown()
        return
    raise AssertionError("it was not cancelled")


def an_actor_keeps_its_state() -> None:
    @ray.remote
    class Adder:
        def __init__(self) -> None:
            self.total = 0

        def add(self, number: int) -> int:
            self.total += number
            return self.total

    adder = Adder.remote()
    assert ray.get([adder.add.remote(number) for number in (1, 2, 3)]) == [1, 3, 6]
    ray.kill(adder)


def a_named_actor_is_found_by_others() -> None:
    @ray.remote
    class Named:
        def name(self) -> str:
            return str(ray.get_runtime_context().get_actor_name())

    kept = Named.options(name="of_an_example", get_if_exists=True).remote()
    assert ray.get(kept.name.remote()) == "of_an_example"
    found = ray.get(ray.remote(lambda: ray.get(ray.get_actor("of_an_example").name.remote())).remote())
    assert found == "of_an_example"
    ray.kill(kept)


def an_async_actor_serves_many_at_once() -> None:
    @ray.remote
    class Barrier:
        def __init__(self) -> None:
            self.waiting = 0
            self.all_are_here = asyncio.Event()

        async def meet(self, number: int) -> int:
            self.waiting += 1
            if self.waiting == number:
                self.all_are_here.set()
            await self.all_are_here.wait()
            return self.waiting

    barrier = Barrier.remote()
    assert ray.get([barrier.meet.remote(8) for _ in range(8)], timeout=DEADLINE_S) == [8] * 8
    ray.kill(barrier)


def a_queue_is_shared() -> None:
    queue = Queue(maxsize=2)
    put = ray.remote(lambda shared: [shared.put(number) for number in range(4)] and None).remote(queue)
    assert [queue.get(timeout=DEADLINE_S) for _ in range(4)] == [0, 1, 2, 3]
    ray.get(put)
    queue.shutdown()


def objects_are_shared_without_a_copy() -> None:
    ref = ray.put(np.arange(1_000_000))
    total = ray.remote(lambda array: (int(array.sum()), array.flags.writeable))
    assert ray.get(total.remote(ref)) == (499_999_500_000, False)


def objects_beyond_the_object_store_go_to_disk() -> None:
    @ray.remote
    def hold() -> float:
        refs = [ray.put(np.full(ARRAY_BYTES // 8, number, dtype=np.float64)) for number in range(ARRAYS)]
        return float(sum(ray.get(ref)[0] for ref in refs))

    assert ray.get(hold.remote(), timeout=DEADLINE_S) == sum(range(ARRAYS))


def a_placement_group_reserves() -> None:
    group = placement_group([{"CPU": 1}, {"CPU": 1}], strategy="PACK")
    try:
        ray.get(group.ready(), timeout=DEADLINE_S)
    except GetTimeoutError as error:
        raise AssertionError(f"{placement_group_table(group)}, of {ray.available_resources()}") from error
    strategy = PlacementGroupSchedulingStrategy(group)
    assert ray.get(square.options(scheduling_strategy=strategy).remote(3)) == 9
    remove_placement_group(group)


def a_task_runs_where_it_is_sent() -> None:
    where = ray.remote(num_cpus=0)(lambda: ray.get_runtime_context().get_node_id())
    for node in ray.nodes():
        strategy = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        assert ray.get(where.options(scheduling_strategy=strategy).remote(), timeout=DEADLINE_S) == node["NodeID"]


def a_failing_task_is_tried_again() -> None:
    @ray.remote
    class Tries:
        def __init__(self) -> None:
            self.number = 0

        def next(self) -> int:
            self.number += 1
            return self.number

    @ray.remote(max_retries=3, retry_exceptions=[ValueError])
    def flaky(tries: Any) -> int:
        number = ray.get(tries.next.remote())
        if number < 3:
            raise ValueError(number)
        return int(number)

    assert ray.get(flaky.remote(Tries.remote()), timeout=DEADLINE_S) == 3


def a_killed_task_is_tried_again() -> None:
    marks = Path(tempfile.mkdtemp())

    @ray.remote(max_retries=1)
    def die_once(mark: str) -> str:
        if not Path(mark).exists():
            Path(mark).parent.mkdir(parents=True, exist_ok=True)
            Path(mark).touch()
            os._exit(1)
        return "alive"

    assert ray.get(die_once.remote(str(marks / "mark")), timeout=DEADLINE_S) == "alive"


def an_actor_comes_back_as_often_as_it_may() -> None:
    @ray.remote(max_restarts=1, max_task_retries=1)
    class Mortal:
        def pid(self) -> int:
            return os.getpid()

        def die(self) -> None:
            os._exit(1)

    mortal = Mortal.remote()
    first = ray.get(mortal.pid.remote())
    mortal.die.options(max_task_retries=0).remote()
    assert ray.get(mortal.pid.remote(), timeout=DEADLINE_S) != first
    mortal.die.options(max_task_retries=0).remote()
    try:
        ray.get(mortal.pid.remote(), timeout=DEADLINE_S)
    except RayActorError:
        return
    raise AssertionError("it came back once too often")


def env_vars_are_of_the_task() -> None:
    told = environment.options(runtime_env={"env_vars": {"OF_THE_TASK": "1"}}).remote("OF_THE_TASK")
    assert ray.get(told, timeout=DEADLINE_S) == "1"
    assert ray.get(environment.remote("OF_THE_TASK")) is None


@ray.remote
def version_of_emoji():
    import emoji

    return emoji.__version__


def pip_packages_are_of_the_task() -> None:
    for version in ("2.10.0", "2.12.0"):  # each has an environment of its own, which must have room beside the other
        told = version_of_emoji.options(runtime_env={"pip": [f"emoji=={version}"]}).remote()
        assert ray.get(told, timeout=DEADLINE_S) == version


def uv_packages_are_of_the_task() -> None:
    told = version_of_emoji.options(runtime_env={"uv": ["emoji==2.11.0"]}).remote()
    assert ray.get(told, timeout=DEADLINE_S) == "2.11.0"


def the_modules_and_the_folder_of_a_job_are_at_its_workers() -> None:
    @ray.remote
    def found():
        import of_an_example

        return of_an_example.VALUE, Path("beside.txt").read_text()

    assert ray.get(found.remote(), timeout=DEADLINE_S) == (42, "beside")


def files_of_the_job() -> dict[str, Any]:
    folder = Path(tempfile.mkdtemp())
    package, beside = folder / "of_an_example", folder / "beside"
    for one in (package, beside):
        one.mkdir()
    (package / "__init__.py").write_text("VALUE = 42\n")
    (beside / "beside.txt").write_text("beside")
    return {"py_modules": [str(package)], "working_dir": str(beside)}


def an_own_metric_is_exported() -> None:
    @ray.remote
    class Counts:
        def __init__(self) -> None:
            self.counter = Counter("of_an_example", description="counts", tag_keys=())

        def count(self) -> None:
            self.counter.inc()

    counts = Counts.remote()
    ray.get(counts.count.remote())
    pages = [f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics" for node in ray.nodes()]
    deadline = time.monotonic() + DEADLINE_S
    while not any(b"of_an_example" in urllib.request.urlopen(page).read() for page in pages):  # noqa: S310
        assert time.monotonic() < deadline, "it did not appear"
        time.sleep(0.5)
    ray.kill(counts)


EXAMPLES: list[Callable[[], None]] = [
    tasks_depend_on_each_other,
    tasks_return_several_values,
    a_generator_streams_its_values,
    waiting_returns_what_is_ready,
    a_cancelled_task_says_so,
    an_actor_keeps_its_state,
    a_named_actor_is_found_by_others,
    an_async_actor_serves_many_at_once,
    a_queue_is_shared,
    objects_are_shared_without_a_copy,
    objects_beyond_the_object_store_go_to_disk,
    a_placement_group_reserves,
    a_task_runs_where_it_is_sent,
    a_failing_task_is_tried_again,
    a_killed_task_is_tried_again,
    an_actor_comes_back_as_often_as_it_may,
    env_vars_are_of_the_task,
    the_modules_and_the_folder_of_a_job_are_at_its_workers,
    pip_packages_are_of_the_task,
    uv_packages_are_of_the_task,
    an_own_metric_is_exported,
]


if __name__ == "__main__":
    ray.init(log_to_driver=False, runtime_env=files_of_the_job())
    for example in EXAMPLES:
        try:
            example()
            print(f"{example.__name__}: ok", flush=True)
        except Exception as error:
            print(f"{example.__name__}: {type(error).__name__}: {error}", flush=True)
