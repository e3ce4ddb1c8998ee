import asyncio
import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from seedcore.errors import StoreFencedError, StoreUnavailableError
from seedcore.memory.database import Database, store_schema
from seedcore.memory.group_commit import GroupCommit
from seedcore.settings import Synchronous

SCHEMA = store_schema(("CREATE TABLE notes (text TEXT UNIQUE)",))
DEADLINE_S = 30.0


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(tmp_path / "notes.sqlite3", SCHEMA, Synchronous.NORMAL)
    yield database
    database.close()


@pytest.fixture
def writes(database: Database) -> GroupCommit:
    return GroupCommit(database)


def note(text: str) -> Callable[[sqlite3.Connection], str]:
    def operation(connection: sqlite3.Connection) -> str:
        connection.execute("INSERT INTO notes VALUES (?)", (text,))
        return text

    return operation


def fail_after_noting(text: str, error: BaseException) -> Callable[[sqlite3.Connection], str]:
    def operation(connection: sqlite3.Connection) -> str:
        note(text)(connection)
        raise error

    return operation


def notes(database: Database) -> list[str]:
    with database.reading() as connection:
        return [text for (text,) in connection.execute("SELECT text FROM notes ORDER BY rowid")]


class Gate:
    """Keeps the writer inside of one transaction, so that what comes meanwhile has to wait and goes together."""

    def __init__(self, writes: GroupCommit) -> None:
        self._entered = threading.Event()
        self._open = threading.Event()
        self._writes = writes

    async def close(self) -> None:
        self._held = asyncio.create_task(self._writes.run(self._wait))
        assert await asyncio.to_thread(self._entered.wait, DEADLINE_S)

    async def open(self) -> None:
        self._open.set()
        await self._held

    def _wait(self, connection: sqlite3.Connection) -> None:
        self._entered.set()
        assert self._open.wait(DEADLINE_S)


async def start_together(
    writes: GroupCommit, *operations: Callable[[sqlite3.Connection], str]
) -> list[asyncio.Task[str]]:
    """Hand in all operations; they wait, since the gate is closed."""
    tasks = [asyncio.create_task(writes.run(operation)) for operation in operations]
    # The loop runs tasks in the order of their creation, so all of them have handed in when this one ends.
    await asyncio.create_task(do_nothing())
    return tasks


async def do_nothing() -> None:
    pass


async def test_operations_that_wait_share_one_transaction_and_get_their_own_results(
    database: Database, writes: GroupCommit
) -> None:
    gate = Gate(writes)
    await gate.close()
    tasks = await start_together(writes, *(note(str(number)) for number in range(20)))
    assert not any(task.done() for task in tasks)
    await gate.open()
    assert await asyncio.gather(*tasks) == [str(number) for number in range(20)]
    assert writes.transactions == 2  # the gate's, and one for all others
    assert notes(database) == [str(number) for number in range(20)]


async def test_one_after_the_other_each_has_its_own_transaction_and_is_read_at_once(
    database: Database, writes: GroupCommit
) -> None:
    for number in range(5):
        assert await writes.run(note(str(number))) == str(number)
        assert notes(database)[-1] == str(number)
        assert writes.transactions == number + 1


@pytest.mark.parametrize(
    ("bad", "error"),
    [
        (fail_after_noting("lost", ValueError("mine")), ValueError),
        (fail_after_noting("lost", sqlite3.OperationalError("disk I/O error")), StoreUnavailableError),
        (note("before"), StoreUnavailableError),  # a second time, which the table refuses
    ],
)
async def test_one_bad_operation_fails_alone_and_leaves_nothing(
    database: Database, writes: GroupCommit, bad: Callable[[sqlite3.Connection], str], error: type[Exception]
) -> None:
    await writes.run(note("before"))
    gate = Gate(writes)
    await gate.close()
    tasks = await start_together(writes, note("first"), bad, note("last"))
    await gate.open()
    results: list[object] = list(await asyncio.gather(*tasks, return_exceptions=True))
    assert isinstance(results.pop(1), error)
    assert results == ["first", "last"]
    assert notes(database) == ["before", "first", "last"]
    assert await writes.run(note("afterwards")) == "afterwards"


@pytest.mark.parametrize("bad", [note("cancelled"), fail_after_noting("lost", ValueError())], ids=["good", "bad"])
async def test_a_cancelled_caller_disturbs_nobody(
    database: Database, writes: GroupCommit, bad: Callable[[sqlite3.Connection], str]
) -> None:
    gate = Gate(writes)
    await gate.close()
    first, cancelled, last = await start_together(writes, note("first"), bad, note("last"))
    cancelled.cancel()
    await gate.open()
    async with asyncio.timeout(DEADLINE_S):
        assert [await first, await last] == ["first", "last"]
    assert cancelled.cancelled()
    assert [text for text in notes(database) if text != "cancelled"] == ["first", "last"]
    assert await writes.run(note("afterwards")) == "afterwards"


async def test_all_callers_of_a_fenced_writer_are_refused_and_nothing_is_kept(
    database: Database, writes: GroupCommit
) -> None:
    gate = Gate(writes)
    await gate.close()
    tasks = await start_together(writes, note("first"), note("second"))
    await gate.open()
    await asyncio.gather(*tasks)
    successor = Database(database.path, SCHEMA, Synchronous.NORMAL)
    results = await asyncio.gather(writes.run(note("late")), writes.run(note("later")), return_exceptions=True)
    assert [type(result) for result in results] == [StoreFencedError, StoreFencedError]
    assert notes(successor) == ["first", "second"]
    assert writes.transactions == 2
    successor.close()


@pytest.mark.parametrize(
    "error", [StopIteration("mine"), StopAsyncIteration(), SystemExit(1), KeyboardInterrupt(), GeneratorExit()]
)
async def test_an_error_that_no_future_can_carry_hangs_nobody(
    database: Database, writes: GroupCommit, error: BaseException
) -> None:
    gate = Gate(writes)
    await gate.close()
    tasks = await start_together(writes, note("first"), fail_after_noting("lost", error), note("last"))
    await gate.open()
    async with asyncio.timeout(DEADLINE_S):
        results: list[object] = list(await asyncio.gather(*tasks, return_exceptions=True))
    bad = results.pop(1)
    assert isinstance(bad, RuntimeError | StopAsyncIteration)
    assert bad is error or bad.__cause__ is error
    assert results == ["first", "last"]
    assert notes(database) == ["first", "last"]
    assert await writes.run(note("afterwards")) == "afterwards"
