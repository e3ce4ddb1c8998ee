"""Gathers concurrent writes into one transaction."""

import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import TypeVar

from seedcore.errors import StoreUnavailableError
from seedcore.store.sqlite.database import Database

T = TypeVar("T")
Operation = Callable[[sqlite3.Connection], object]


class _Waiting:
    """Operations that came together, and their results once they are committed."""

    def __init__(self, operations: Sequence[Operation]) -> None:
        self.operations = operations
        self.results: list[object] | None = None


class GroupCommit:
    """The write queue of one database. Any number of threads may write.

    While one thread commits, the operations of others wait; the next thread to have its turn commits them all in one
    transaction. If a shared transaction fails, its operations are tried again one by one, so that one bad write fails
    alone.

    Args:
        database: whose transactions to use. Nothing else may write to it.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._turn = threading.Lock()
        self._waiting: deque[_Waiting] = deque()
        self.transactions = 0
        self.writes = 0  # operations in them
        self.refused_writes = 0  # as the file could not be written

    def run(self, operation: Callable[[sqlite3.Connection], T]) -> T:
        """Run the operation inside a transaction and return its result once that is committed.

        Raises:
            StoreUnavailableError: nothing of this operation was kept.
        """
        (result,) = self.run_all([operation])
        if isinstance(result, Exception):
            raise result
        return result  # type: ignore[return-value]

    def run_all(self, operations: Sequence[Operation]) -> list[object]:
        """Run several that came together, each as `run` does; the result of each, or the error that it ended with."""
        mine = _Waiting(operations)
        self._waiting.append(mine)
        with self._turn:
            if mine.results is None:  # else the thread whose turn it was has committed these as well
                self._commit_waiting()
        assert mine.results is not None  # noqa: S101 - they were waiting until one of the two turns
        return mine.results

    def _commit_waiting(self) -> None:
        # Others may append meanwhile, and only who has the turn takes away.
        batch = [self._waiting.popleft() for _ in range(len(self._waiting))]
        results = self._commit([operation for waiting in batch for operation in waiting.operations])
        for waiting in batch:
            number = len(waiting.operations)
            waiting.results, results = results[:number], results[number:]

    def _commit(self, operations: list[Operation]) -> list[object]:
        try:
            with self._database.transaction() as connection:
                results = [operation(connection) for operation in operations]
            self.transactions += 1
            self.writes += len(operations)
        except BaseException as error:  # handed to the callers, most of which wait on other threads
            if len(operations) > 1:
                return [self._commit([operation])[0] for operation in operations]
            self.refused_writes += isinstance(error, StoreUnavailableError)
            return [_as_exception(error)]
        return results


def _as_exception(error: BaseException) -> Exception:
    # What else there is would end the thread of whoever gets it.
    if isinstance(error, Exception):
        return error
    wrapped = RuntimeError(f"a write raised {error!r}, and nothing of it was kept")
    wrapped.__cause__ = error
    return wrapped
