"""The load generator: `python -m tests.faults.load PROCESS FOLDER SEED`.

Writes and reads until a file `stop` appears in the folder, and journals each answer in `FOLDER/PROCESS.journal`.
`http` goes through the API at `API_URL`, from outside; `threads` and `coroutines` use `MwManager` on a Ray node. A
process that is started again, after a power cut, goes on where its journal ends. `http-end` and `manager-end` journal
in `FOLDER/PROCESS` what is there when all have stopped.
"""

import asyncio
import os
import random
import re
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final, Protocol

import httpx
from ray.exceptions import RayError

from seedcore.errors import SeedCoreError
from seedcore.memory.working_memory import MwManager
from tests.faults.journal import Journal, Operation, Record, read_journal

PROCESSES: Final = ("http", "threads", "coroutines")
ENDS: Final = ("http-end", "manager-end")
CLIENTS: Final = 3  # threads or coroutines in each process
ITEMS: Final = 8  # that each client writes; half of them are shared ones
THINKING_S: Final = 0.03  # between two requests of a client, which leaves the machine to what is tested
HTTP_TIMEOUT_S: Final = 90.0  # above CALL_DEADLINE_S, so that the API's own explanation arrives
STOP: Final = "stop"
WEIGHTS: Final = {Operation.SET: 45, Operation.DELETE: 5, Operation.GET: 45, Operation.MISS: 5}  # how often each comes
ALL_MISSES: Final = 10_000  # more than the tracker counts
KILLED: Final = "it was killed"
WRONG_VALUE: Final = -1  # in the journal, the number of a value that nobody has written


class RequestError(Exception):
    """Raised by a target for an answer that is not a good one."""


class Target(Protocol):
    """One way to the working memory. Each method raises RequestError if the stack does not do what it should."""

    def set(self, item: str, value: Any) -> None:
        """Write an item."""

    def delete(self, item: str) -> None:
        """Delete an item, which may not be there."""

    def get(self, item: str) -> Any:
        """Read an item; None if there is none."""


def clients_of(process: str, folder: Path) -> list[str]:
    """The clients of a process; the folder's name makes them and their items different from those of other loads."""
    return [f"{folder.name}-{process}-{number}" for number in range(CLIENTS)]


def all_clients(folder: Path) -> list[str]:
    """The clients of all processes."""
    return [client for process in PROCESSES for client in clients_of(process, folder)]


def is_shared(item: str) -> bool:
    """Whether an item is a shared one; each client has both."""
    return not item.startswith("missed-") and int(item.rpartition("-")[2]) % 2 == 0


def owner(item: str) -> str:
    """The organ of an item that is not a shared one: the client that writes it."""
    return item.rpartition("-")[0]


def items_of(client: str) -> list[str]:
    """The items that a client writes."""
    return [f"{client}-{number}" for number in range(ITEMS)]


def missed_item(client: str) -> str:
    """The item that a client asks for in vain."""
    return f"missed-by-{client}"


def value_of(item: str, number: int) -> dict[str, Any]:
    """What is written to an item; of different sizes, and such that a mix-up would be seen."""
    return {"item": item, "number": number, "filler": f"{number} " * (number % 200)}


def number_in(item: str, value: Any) -> int | None:
    """The number of a value that was read."""
    if value is None:
        return None
    number = value.get("number") if isinstance(value, dict) else None
    return number if isinstance(number, int) and value == value_of(item, number) else WRONG_VALUE


class HttpTarget:
    """The HTTP API.

    Args:
        url: where it is.
    """

    def __init__(self, url: str) -> None:
        self._client = httpx.Client(base_url=url, timeout=HTTP_TIMEOUT_S)

    def set(self, item: str, value: Any) -> None:
        """PUT."""
        self._request("PUT", item, json={"value": value})

    def delete(self, item: str) -> None:
        """DELETE; 404 is a good answer as well."""
        self._request("DELETE", item)

    def get(self, item: str) -> Any:
        """GET."""
        answer = self._request("GET", item)
        return None if answer.status_code == HTTPStatus.NOT_FOUND else answer.json()["value"]

    def misses(self) -> dict[str, int]:
        """How often each item was asked for in vain."""
        answer = self._client.get("/hot-items", params={"n": ALL_MISSES}).raise_for_status()
        return {hot["item_id"]: hot["misses"] for hot in answer.json()}

    def _request(self, method: str, item: str, **body: Any) -> httpx.Response:
        path = f"/shared-items/{item}" if is_shared(item) else f"/organs/{owner(item)}/items/{item}"
        try:
            answer = self._client.request(method, path, **body)
        except httpx.HTTPError as error:
            raise RequestError(f"{type(error).__name__}: {error}") from error
        if answer.status_code == HTTPStatus.OK or (answer.status_code == HTTPStatus.NOT_FOUND and method != "PUT"):
            return answer
        raise RequestError(f"HTTP {answer.status_code}: {answer.text}")


class ManagerTarget:
    """`MwManager`, its blocking methods."""

    def set(self, item: str, value: Any) -> None:
        """`set_item` or `set_global_item`."""
        memory = MwManager(owner(item))
        (memory.set_global_item if is_shared(item) else memory.set_item)(item, value)

    def delete(self, item: str) -> None:
        """`delete_item` or `delete_global_item`."""
        memory = MwManager(owner(item))
        (memory.delete_global_item if is_shared(item) else memory.delete_item)(item)

    def get(self, item: str) -> Any:
        """`get_item` or `get_global_item`."""
        memory = MwManager(owner(item))
        return (memory.get_global_item if is_shared(item) else memory.get_item)(item)


class AsyncManagerTarget:
    """`MwManager` from threads that hand everything to one event loop, its `_async` methods.

    Args:
        loop: runs in another thread.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def set(self, item: str, value: Any) -> None:
        """`set_item_async` or `set_global_item_async`."""
        memory = MwManager(owner(item))
        self._run((memory.set_global_item_async if is_shared(item) else memory.set_item_async)(item, value))

    def delete(self, item: str) -> None:
        """`delete_item_async` or `delete_global_item_async`."""
        memory = MwManager(owner(item))
        self._run((memory.delete_global_item_async if is_shared(item) else memory.delete_item_async)(item))

    def get(self, item: str) -> Any:
        """`get_item_async` or `get_global_item_async`."""
        memory = MwManager(owner(item))
        return self._run((memory.get_global_item_async if is_shared(item) else memory.get_item_async)(item))

    def _run(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()


class Client:
    """Sends one request after the other, and journals them.

    Args:
        name: unique among all loads.
        target: where to.
        journal: of its process.
        readable: the items of all clients.
        seed: of its choices.
    """

    def __init__(self, name: str, target: Target, journal: Journal, readable: list[str], seed: int) -> None:
        self._name = name
        self._target = target
        self._journal = journal
        self._random = random.Random(seed)
        self._numbers = dict.fromkeys(items_of(name), 0)
        self._readable = readable

    def go_on(self, done: list[Record]) -> None:
        """Start with the numbers after those of an earlier life, and journal what was under way at its end.

        Args:
            done: what it has journaled.
        """
        mine = [record for record in done if record.client == self._name]
        if not mine:
            return
        ended = mine[-1].ended
        last = {record.item: record for record in mine if record.operation in (Operation.SET, Operation.DELETE)}
        self._journal.write(Record(ended, ended, self._name, Operation.GET, next(iter(self._numbers)), None, KILLED))
        for item in self._numbers:
            written = last.get(item)
            number = (written.number if written else None) or 0
            expected = number if written and written.operation is Operation.SET else None
            found = number_in(item, self._target.get(item))
            if found != expected:
                operation = Operation.DELETE if found is None else Operation.SET
                self._journal.write(Record(ended, ended, self._name, operation, item, number + 1, KILLED))
            self._numbers[item] = number + 1  # which may have been under way

    def run(self, stop: Path) -> None:
        """Until the file is there."""
        while not stop.exists():
            self._one_request()
            time.sleep(THINKING_S)

    def _one_request(self) -> None:
        (operation,) = self._random.choices(list(WEIGHTS), list(WEIGHTS.values()))
        item, number, error = self._item(operation), None, ""
        if operation in (Operation.SET, Operation.DELETE):
            number = self._numbers[item] = self._numbers[item] + 1
        started = time.monotonic()
        try:
            match operation:
                case Operation.SET:
                    self._target.set(item, value_of(item, number or 0))
                case Operation.DELETE:
                    self._target.delete(item)
                case _:
                    number = number_in(item, self._target.get(item))
        except (RequestError, SeedCoreError, RayError) as failure:
            error = in_one_line(failure)
        self._journal.write(Record(started, time.monotonic(), self._name, operation, item, number, error))

    def _item(self, operation: Operation) -> str:
        if operation is Operation.MISS:
            return missed_item(self._name)
        return self._random.choice(self._readable if operation is Operation.GET else list(self._numbers))


def in_one_line(failure: Exception) -> str:
    """An error without what differs from one time to the next, so that equal ones can be counted."""
    text = " ".join(str(failure).split())[:300] or type(failure).__name__
    return re.sub(r"[0-9a-f]{12,}|\b\d+(\.\d+)*\b", "N", text) if not text.startswith("HTTP") else text


def run_load(process: str, folder: Path, seed: int) -> None:
    """Run the clients of one process until they are told to stop."""
    loop = asyncio.new_event_loop()
    targets: dict[str, Callable[[], Target]] = {
        "http": lambda: HttpTarget(os.environ["API_URL"]),
        "threads": ManagerTarget,
        "coroutines": lambda: AsyncManagerTarget(loop),
    }
    path = folder / f"{process}.journal"
    done = list(read_journal(path)) if path.exists() else []
    with ThreadPoolExecutor(CLIENTS + 1) as pool, Journal(path) as journal:
        pool.submit(loop.run_forever)
        readable = [item for client in all_clients(folder) for item in items_of(client)]
        clients = [
            Client(name, targets[process](), journal, readable, seed + number)
            for number, name in enumerate(clients_of(process, folder))
        ]
        try:
            for client in clients if done else ():
                client.go_on(done)
            running = [pool.submit(client.run, folder / STOP) for client in clients]
            for one in running:
                one.result()
        finally:
            loop.call_soon_threadsafe(loop.stop)


def look_at_the_end(process: str, folder: Path) -> None:
    """Journal what every item of a load holds now, and by HTTP how often each was missed."""
    target = HttpTarget(os.environ["API_URL"]) if process == "http-end" else ManagerTarget()
    with Journal(folder / process) as journal:
        for client in all_clients(folder):
            for item in items_of(client):
                started, number, error = time.monotonic(), None, ""
                try:
                    number = number_in(item, target.get(item))
                except (RequestError, SeedCoreError, RayError) as failure:
                    error = in_one_line(failure)
                journal.write(Record(started, time.monotonic(), "end", Operation.GET, item, number, error))
        if isinstance(target, HttpTarget):
            counted = target.misses()
            for item in map(missed_item, all_clients(folder)):
                now = time.monotonic()
                journal.write(Record(now, now, "end", Operation.MISS, item, counted.get(item, 0)))


def main() -> None:
    """Run one process of the load, or look at the end."""
    process, folder = sys.argv[1], Path(sys.argv[2])
    if process in ENDS:
        look_at_the_end(process, folder)
    else:
        run_load(process, folder, int(sys.argv[3]))


if __name__ == "__main__":
    main()
