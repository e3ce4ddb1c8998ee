import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from seedcore.errors import StoreFencedError, StoreUnavailableError
from seedcore.settings import Synchronous
from seedcore.store.files.tables import store_schema
from seedcore.store.sqlite.database import Database
from seedcore.store.sqlite.group_commit import GroupCommit, Operation
from tests.waiting import wait_until

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

    def __init__(self, writes: GroupCommit, threads: ThreadPoolExecutor) -> None:
        self._entered = threading.Event()
        self._open = threading.Event()
        self._writes = writes
        self._threads = threads
        self._held = threads.submit(writes.run, self._wait)
        assert self._entered.wait(DEADLINE_S)

    def open(self) -> None:
        self._open.set()
        self._held.result(DEADLINE_S)

    def start(self, *operations: Operation) -> list[Future[object]]:
        """Hand in all operations, in their order; they wait, since the gate is closed."""
        started = []
        for operation in operations:
            before = len(self._writes._waiting)
            started.append(self._threads.submit(self._writes.run, operation))
            wait_until(lambda: len(self._writes._waiting) > before, DEADLINE_S)  # noqa: B023 - called in this turn only
        return started

    def _wait(self, connection: sqlite3.Connection) -> None:
        self._entered.set()
        assert self._open.wait(DEADLINE_S)


@pytest.fixture
def gate(writes: GroupCommit) -> Iterator[Gate]:
    with ThreadPoolExecutor(30) as threads:
        gate = Gate(writes, threads)
        yield gate
        gate.open()


def outcome(started: Future[object]) -> object:
    """The result, or the error."""
    return started.exception(DEADLINE_S) or started.result()


def test_operations_that_wait_share_one_transaction_and_get_their_own_results(
    database: Database, writes: GroupCommit, gate: Gate
) -> None:
    started = gate.start(*(note(str(number)) for number in range(20)))
    assert not any(one.done() for one in started)
    gate.open()
    assert [one.result(DEADLINE_S) for one in started] == [str(number) for number in range(20)]
    assert (writes.transactions, writes.writes) == (2, 21)  # the gate's, and one for all others
    assert notes(database) == [str(number) for number in range(20)]


def test_one_after_the_other_each_has_its_own_transaction_and_is_read_at_once(
    database: Database, writes: GroupCommit
) -> None:
    for number in range(5):
        assert writes.run(note(str(number))) == str(number)
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
def test_one_bad_operation_fails_alone_and_leaves_nothing(
    database: Database, writes: GroupCommit, bad: Callable[[sqlite3.Connection], str], error: type[Exception]
) -> None:
    writes.run(note("before"))
    with ThreadPoolExecutor() as threads:
        gate = Gate(writes, threads)
        started = gate.start(note("first"), bad, note("last"))
        gate.open()
    results = [outcome(one) for one in started]
    assert isinstance(results.pop(1), error)
    assert results == ["first", "last"]
    assert notes(database) == ["before", "first", "last"]
    assert writes.run(note("afterwards")) == "afterwards"


def test_those_that_came_together_have_a_result_or_an_error_each(database: Database, writes: GroupCommit) -> None:
    first, bad, last = writes.run_all([note("first"), note("first"), note("last")])
    assert [first, last] == ["first", "last"]
    assert isinstance(bad, StoreUnavailableError)
    assert notes(database) == ["first", "last"]
    assert (writes.writes, writes.refused_writes) == (2, 1)


def test_many_threads_that_write_all_the_time_lose_nothing(database: Database, writes: GroupCommit) -> None:
    def write(thread: int) -> None:
        for number in range(50):
            text = f"{thread} {number}"
            assert writes.run(note(text)) == text

    with ThreadPoolExecutor(16) as threads:
        for done in [threads.submit(write, thread) for thread in range(16)]:
            done.result(DEADLINE_S)
    assert len(notes(database)) == 16 * 50
    for thread in range(16):
        assert [text for text in notes(database) if text.startswith(f"{thread} ")] == [
            f"{thread} {number}" for number in range(50)
        ]


def test_all_callers_of_a_fenced_writer_are_refused_and_nothing_is_kept(
    database: Database, writes: GroupCommit
) -> None:
    writes.run_all([note("first"), note("second")])
    with ThreadPoolExecutor() as threads:
        successor = Database(database.path, SCHEMA, Synchronous.NORMAL)
        results = [outcome(threads.submit(writes.run, note(text))) for text in ("late", "later")]
    assert [type(result) for result in results] == [StoreFencedError, StoreFencedError]
    assert notes(successor) == ["first", "second"]
    assert writes.transactions == 1
    successor.close()


@pytest.mark.parametrize(
    "error", [StopIteration("mine"), StopAsyncIteration(), SystemExit(1), KeyboardInterrupt(), GeneratorExit()]
)
def test_an_error_that_would_end_a_thread_hangs_nobody(
    database: Database, writes: GroupCommit, gate: Gate, error: BaseException
) -> None:
    started = gate.start(note("first"), fail_after_noting("lost", error), note("last"))
    gate.open()
    results = [outcome(one) for one in started]
    bad = results.pop(1)
    assert isinstance(bad, Exception)
    assert bad is error or bad.__cause__ is error
    assert results == ["first", "last"]
    assert notes(database) == ["first", "last"]
    assert writes.run(note("afterwards")) == "afterwards"
