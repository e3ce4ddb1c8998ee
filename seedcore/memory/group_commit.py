"""Gathers concurrent writes into one transaction, on a thread of its own."""

import asyncio
import sqlite3
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Final, NamedTuple, TypeVar

from seedcore.memory.database import Database

T = TypeVar("T")
Operation = Callable[[sqlite3.Connection], object]

QUICK_OPERATIONS: Final = 64  # in a transaction on the event loop, which takes a millisecond or two then
QUICK_S: Final = 0.002  # a small operation takes a tenth of it, unless the disk is slow


class Write(NamedTuple):
    """What is to be written.

    Args:
        operation: writes it.
        is_small: whether that are some kilobytes at most.
    """

    operation: Operation
    is_small: bool = False


class _Waiting(NamedTuple):
    writes: Sequence[Write]
    answer: asyncio.Future[list[object]]


class GroupCommit:
    """The write queue of one database.

    While one transaction commits, the operations that arrive wait, and then share the next transaction. Each caller
    gets its answers after the commit. If a shared transaction fails, its operations are tried again one by one, so
    that one bad write fails alone.

    A transaction of small operations runs on the event loop itself while the disk is quick: to hand it to the thread
    and back takes longer than all of it.

    Args:
        database: whose transactions to use. Nothing else may write to it.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="writer")
        self._waiting: list[_Waiting] = []
        self._operation_s = QUICK_S  # in the last transaction, on average
        self._drain: asyncio.Task[None] | None = None
        self.transactions = 0

    async def run(self, operation: Callable[[sqlite3.Connection], T], *, is_small: bool = False) -> T:
        """Run the operation inside a transaction and return its result once that is committed.

        Args:
            operation: what to do.
            is_small: as in `Write`.

        Raises:
            StoreUnavailableError: nothing of this operation was kept.
        """
        (result,) = await self.run_all([Write(operation, is_small)])
        if isinstance(result, Exception):
            raise result
        return result  # type: ignore[return-value]

    async def run_all(self, writes: Sequence[Write]) -> list[object]:
        """Run several that came together, each as `run` does; the result of each, or the error that it ended with."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[list[object]] = loop.create_future()
        self._waiting.append(_Waiting(writes, answer))
        if self._drain is None or self._drain.done():
            self._drain = loop.create_task(self._commit_waiting())
        return await answer

    async def _commit_waiting(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting:
            batch, self._waiting = self._waiting, []
            writes = [write for waiting in batch for write in waiting.writes]
            operations = [write.operation for write in writes]
            if self._is_quick(writes):
                results = iter(self._commit(operations))
            else:
                results = iter(await loop.run_in_executor(self._thread, self._commit, operations))
            for waiting in batch:
                of_these = list(islice(results, len(waiting.writes)))
                if not waiting.answer.cancelled():
                    waiting.answer.set_result(of_these)

    def _is_quick(self, writes: Sequence[Write]) -> bool:
        return (
            self._operation_s < QUICK_S
            and len(writes) <= QUICK_OPERATIONS
            and self._database.is_writable
            and all(write.is_small for write in writes)
        )

    def _commit(self, operations: list[Operation]) -> list[object]:
        began = time.monotonic()
        try:
            with self._database.transaction() as connection:
                results = [operation(connection) for operation in operations]
            self.transactions += 1
            self._operation_s = (time.monotonic() - began) / len(operations)
        except BaseException as error:  # handed to the callers; on this thread nobody else would hear of it
            if len(operations) > 1:
                return [self._commit([operation])[0] for operation in operations]
            return [_that_a_future_carries(error)]
        return results


def _that_a_future_carries(error: BaseException) -> Exception:
    # A future refuses a StopIteration, and the others would end the caller's event loop.
    if isinstance(error, Exception) and not isinstance(error, StopIteration):
        return error
    wrapped = RuntimeError(f"a write raised {error!r}, and nothing of it was kept")
    wrapped.__cause__ = error
    return wrapped
