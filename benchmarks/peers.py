"""What the stack is measured against: Redis, diskcache, and a bare Ray actor that holds a dict."""

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import ray
import redis
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_fixed

from scripts.host.ports import LOOPBACK, free_port
from scripts.host.runtime import StackError

BARE_RAY: Final = "bare Ray"
START_DEADLINE_S: Final = 20.0
POLL_S: Final = 0.05
DURABLE: Final = ("--appendonly", "yes", "--appendfsync", "everysec")  # what Redis has written survives its death


class SerialDictActor:
    """The least that an actor can be: it does one call at a time."""

    def __init__(self) -> None:
        self._items: dict[str, Any] = {}

    def get(self, item_id: str) -> Any:
        """The item, or None."""
        return self._items.get(item_id)

    def set(self, item_id: str, value: Any) -> None:
        """Keep the item, in memory."""
        self._items[item_id] = value


class DictActor:
    """The least that an actor can be which does many calls at a time, as a shared one has to."""

    def __init__(self) -> None:
        self._items: dict[str, Any] = {}

    async def get(self, item_id: str) -> Any:
        """The item, or None."""
        return self._items.get(item_id)

    async def set(self, item_id: str, value: Any) -> None:
        """Keep the item, in memory."""
        self._items[item_id] = value


def start_dict_actors(number: int, resources: dict[str, float], actor_class: type = DictActor) -> list[Any]:
    """Some that live where the singletons live."""
    remote_class: Any = ray.remote(actor_class)
    actors = [remote_class.options(num_cpus=0, resources=resources).remote() for _ in range(number)]
    ray.get([actor.__ray_ready__.remote() for actor in actors])
    return actors


@contextmanager
def redis_server(*options: str) -> Iterator[int]:
    """Debian's Redis with its own defaults but for the options, on a port and in a folder of its own.

    Raises:
        StackError: it is not installed.
    """
    program = shutil.which("redis-server")
    if program is None:
        raise StackError("redis-server is not installed: `apt-get install redis-server`")
    port = free_port()
    command = [program, "--port", str(port), "--bind", LOOPBACK, *options]
    with (
        tempfile.TemporaryDirectory() as folder,
        subprocess.Popen([*command, "--dir", folder], stdout=subprocess.DEVNULL) as server,
    ):
        try:
            client = redis.Redis(port=port)
            Retrying(
                retry=retry_if_exception_type(redis.ConnectionError),
                stop=stop_after_delay(START_DEADLINE_S),
                wait=wait_fixed(POLL_S),
                reraise=True,
            )(client.ping)
            yield port
        finally:
            server.terminate()
