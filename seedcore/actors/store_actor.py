"""What every actor of the working memory does at its birth, and how it writes."""

import logging
import os
import shutil
import sqlite3
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, NoReturn, TypeVar

from seedcore.actors.calls import Answer, Call, pack_answers, unpack_calls
from seedcore.errors import ActorFailedError, SeedCoreError, StoreDamagedError, StoreFencedError
from seedcore.logs import configure_logging
from seedcore.settings import Settings, load_settings
from seedcore.store.sqlite.database import Database
from seedcore.store.sqlite.group_commit import GroupCommit, Operation
from seedcore.store.sqlite.request_log import RequestId, RequestLog

T = TypeVar("T")
LETHAL: Final = (StoreFencedError, StoreDamagedError)  # after which only a new process of the actor can go on

logger = logging.getLogger(__name__)


class StoreActor:
    """Base of the actors that own a database. Its settings come from the environment of the node it runs on.

    Ray calls it on many threads at once. An actor with an event loop takes half as long again for each call.
    """

    # Methods that only write, and what each writes: called with the method's arguments without the request. None where
    # something else has to be done first.
    preparations: Mapping[str, Callable[..., Operation | None]]

    def __init__(self) -> None:
        self.preparations = {}
        self.settings: Settings = load_settings()
        configure_logging(self.settings)
        self.started_at = time.time()
        self._folder: Path
        self._writes: GroupCommit
        self._requests: RequestLog

    def perform(self, packed: list[Any]) -> list[Any]:
        """Do calls of this actor's methods, all at once; each has its own answer, as if it had come by itself.

        Args:
            packed: by `pack_calls`.

        Returns:
            what `unpack_answers` takes.
        """
        calls = unpack_calls(packed)
        answers: dict[int, Answer] = {}
        writes: dict[int, Operation] = {}
        for position, call in enumerate(calls):
            try:
                write = self._prepared(call)
            except Exception as error:
                answers[position] = self._failed(call, error)
            else:
                if write is not None:
                    writes[position] = write
        for position, result in zip(writes, self._write_all(list(writes.values())), strict=True):
            if isinstance(result, Exception):
                answers[position] = self._failed(calls[position], result)
            else:
                answers[position] = Answer(result)
        for position, call in enumerate(calls):
            if position not in answers:
                answers[position] = self._answer(call)
        return pack_answers(answers[position] for position in range(len(calls)))

    def _prepared(self, call: Call) -> Operation | None:
        """What a call writes, if it is one of `preparations` and can be written at once."""
        prepare = self.preparations.get(call.method)
        if prepare is None or call.request is None:
            return None
        write = prepare(*call.arguments)
        return write and self._once(write, call.request)

    def _write_all(self, writes: list[Operation]) -> list[object]:
        if not writes:
            return []
        results = self._writes.run_all(writes)
        for result in results:
            if isinstance(result, LETHAL):
                self._end(result)
        return results

    def _answer(self, call: Call) -> Answer:
        request = () if call.request is None else (call.request,)
        try:
            return Answer(getattr(self, call.method)(*call.arguments, *request))
        except Exception as error:
            return self._failed(call, error)

    @staticmethod
    def _failed(call: Call, error: Exception) -> Answer:
        if isinstance(error, SeedCoreError):
            return Answer(error=error)
        logger.error("%s failed", call.method, exc_info=error)
        return Answer(error=ActorFailedError(f"{call.method} raised {type(error).__name__}: {error}"))

    def owns(self, database: Database) -> None:
        """Take the database as the one that `write` writes to."""
        self._folder = database.path.parent
        self._writes = GroupCommit(database)
        self._requests = RequestLog(database.now, lambda: database.epoch)
        logger.info("%s owns %s", type(self).__name__, database.path)

    def write(self, operation: Callable[[sqlite3.Connection], T], request: RequestId | None = None) -> T:
        """Run the operation in the next transaction; the result comes after the commit.

        Args:
            operation: what to do with the connection.
            request: whose it is; the operation of one request is done once, however often it comes.
        """
        (result,) = self._write_all([self._once(operation, request)])
        if isinstance(result, Exception):
            raise result
        return result  # type: ignore[return-value]

    def _once(self, operation: Operation, request: RequestId | None) -> Operation:
        return lambda connection: self._requests.once(connection, request, operation)

    def read(self, operation: Callable[[], T]) -> T:
        """Run what reads from the store."""
        try:
            return operation()
        except LETHAL as error:
            self._end(error)

    @staticmethod
    def _end(error: Exception) -> NoReturn:
        # The caller must not get an answer from a writer of the past: Ray repeats the call on the present one. The
        # same for a damaged file, which the next process salvages.
        logger.critical("%s", error)
        logging.shutdown()
        os._exit(1)

    def process_stats(self) -> dict[str, float]:
        """What all actors tell: writes and the transactions that they shared since this process took over, at which
        second since the epoch that was, and the room on the disk of the store.
        """
        disk = shutil.disk_usage(self._folder)
        return {
            "writes": self._writes.writes,
            "refused_writes": self._writes.refused_writes,
            "transactions": self._writes.transactions,
            "started_at": self.started_at,
            "disk_bytes": disk.total,
            "disk_free_bytes": disk.free,
        }
