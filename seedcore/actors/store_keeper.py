"""What keeps a store in the process of an actor: it takes packed calls, writes each of them once, and answers."""

import logging
import os
import shutil
import time
from collections.abc import Callable, Mapping
from functools import partial
from itertools import groupby
from pathlib import Path
from sqlite3 import Connection
from typing import Any, Final, NoReturn

from seedcore.actors.call_socket import CallServer
from seedcore.actors.calls import Answer, Call, pack_answers, unpack_calls
from seedcore.errors import ActorFailedError, SeedCoreError, StoreDamagedError, StoreFencedError
from seedcore.store.sqlite.database import Database
from seedcore.store.sqlite.group_commit import GroupCommit
from seedcore.store.sqlite.request_log import RequestLog

Operation = Callable[[Connection], object]
LETHAL: Final = (StoreFencedError, StoreDamagedError)  # after which only a new process of the actor can go on

logger = logging.getLogger(__name__)


class StoreKeeper:
    """Base of what keeps a store.

    Ray calls it on many threads at once. An actor with an event loop takes half as long again for each call.

    Args:
        name: of the actor's class, for the log.
        database: of the store.
    """

    # What each call does, by its method. A write gets the connection of an open transaction before its arguments.
    writes: Mapping[str, Callable[..., object]]
    reads: Mapping[str, Callable[..., object]]

    def __init__(self, name: str, database: Database) -> None:
        self._database = database
        self._commits = GroupCommit(database)
        self._requests = RequestLog(lambda: database.epoch)
        self._started_at = time.time()
        self._calls = {"ray": 0, "socket": 0}
        self._server = self._serve(database.path)
        logger.info("%s keeps %s", name, database.path)

    def _serve(self, store: Path) -> CallServer | None:
        def perform(packed: list[Any]) -> list[Any]:
            return self._perform(packed, "socket")

        try:
            return CallServer(store, perform)
        except OSError as error:  # a disk that has no sockets, or where nothing can be written
            logger.info("%s answers through Ray only, since there is no socket beside it: %s", store, error)
            return None

    def close(self) -> None:
        """Answer no more through the socket, and close the file; for an actor that lives in a test's process."""
        if self._server is not None:
            self._server.close()
        self._database.close()

    def perform(self, packed: list[Any]) -> list[Any]:
        """Do calls in their order, writes that follow each other in one transaction; each has an answer of its own.

        Args:
            packed: by `pack_calls`.

        Returns:
            what `unpack_answers` takes.
        """
        return self._perform(packed, "ray")

    def _perform(self, packed: list[Any], way: str) -> list[Any]:
        self._calls[way] += 1
        answers: list[Answer] = []
        for are_writes, calls in groupby(unpack_calls(packed), lambda call: call.method in self.writes):
            together = list(calls)
            answers += self._write_all(together) if are_writes else map(self._read, together)
        return pack_answers(answers)

    def _write_all(self, calls: list[Call]) -> list[Answer]:
        results = self._commit([partial(self._once, call) for call in calls])
        return [
            self._failed(call, result) if isinstance(result, Exception) else Answer(result)
            for call, result in zip(calls, results, strict=True)
        ]

    def _once(self, call: Call, connection: Connection) -> object:
        write = partial(self.writes[call.method], connection, *call.arguments)
        return self._requests.once(connection, call.request, write)

    def _read(self, call: Call) -> Answer:
        try:
            return Answer(self.reads[call.method](*call.arguments))
        except LETHAL as error:
            self._end(error)
        except Exception as error:
            return self._failed(call, error)

    def write(self, operation: Operation) -> None:
        """Run the operation in the next transaction, for the actor itself."""
        (result,) = self._commit([operation])
        if isinstance(result, Exception):
            raise result

    def _commit(self, operations: list[Operation]) -> list[object]:
        results = self._commits.run_all(operations)
        for result in results:
            if isinstance(result, LETHAL):
                self._end(result)
        return results

    @staticmethod
    def _failed(call: Call, error: Exception) -> Answer:
        if isinstance(error, SeedCoreError):
            return Answer(error=error)
        logger.error("%s failed", call.method, exc_info=error)
        return Answer(error=ActorFailedError(f"{call.method} raised {type(error).__name__}: {error}"))

    @staticmethod
    def _end(error: Exception) -> NoReturn:
        # The caller must not get an answer from a writer of the past: Ray repeats the call on the present one. The
        # same for a damaged file, which the next process salvages.
        logger.critical("%s", error)
        logging.shutdown()
        os._exit(1)

    def process_stats(self) -> dict[str, float]:
        """What all actors tell: writes and the transactions that they shared since this process took over, at which
        second since the epoch that was, how often it was called in each way, and the room on the disk of the store.
        """
        disk = shutil.disk_usage(self._database.path.parent)
        return {
            "writes": self._commits.writes,
            "refused_writes": self._commits.refused_writes,
            "transactions": self._commits.transactions,
            "started_at": self._started_at,
            **{f"calls_by_{way}_total": number for way, number in self._calls.items()},
            "disk_bytes": disk.total,
            "disk_free_bytes": disk.free,
        }
