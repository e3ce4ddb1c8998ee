"""What every actor of the working memory does at its birth, and how it writes."""

import asyncio
import logging
import os
import sqlite3
import time
from collections.abc import Callable
from typing import Any, Final, NoReturn, TypeVar

from seedcore.errors import ActorFailedError, SeedCoreError, StoreDamagedError, StoreFencedError
from seedcore.logs import configure_logging
from seedcore.memory.calls import Answer, Call, pack_answers, unpack_calls
from seedcore.memory.database import Database
from seedcore.memory.group_commit import GroupCommit
from seedcore.memory.request_log import RequestId, RequestLog
from seedcore.settings import Settings, load_settings

T = TypeVar("T")
LETHAL: Final = (StoreFencedError, StoreDamagedError)  # after which only a new process of the actor can go on

logger = logging.getLogger(__name__)


class StoreActor:
    """Base of the actors that own a database. Its settings come from the environment of the node it runs on."""

    def __init__(self) -> None:
        self.settings: Settings = load_settings()
        configure_logging(self.settings)
        self.started_at = time.time()
        self._writes: GroupCommit
        self._requests: RequestLog

    async def perform(self, packed: list[Any]) -> list[Any]:
        """Do calls of this actor's methods, all at once; each has its own answer, as if it had come by itself.

        Args:
            packed: by `pack_calls`.

        Returns:
            what `unpack_answers` takes.
        """
        calls = unpack_calls(packed)
        if len(calls) == 1:
            return pack_answers([await self._answer(calls[0])])
        return pack_answers(await asyncio.gather(*map(self._answer, calls)))

    async def _answer(self, call: Call) -> Answer:
        request = () if call.request is None else (call.request,)
        try:
            return Answer(await getattr(self, call.method)(*call.arguments, *request))
        except SeedCoreError as error:
            return Answer(error=error)
        except Exception as error:
            logger.exception("%s failed", call.method)
            return Answer(error=ActorFailedError(f"{call.method} raised {type(error).__name__}: {error}"))

    def owns(self, database: Database) -> None:
        """Take the database as the one that `write` writes to."""
        self._writes = GroupCommit(database)
        self._requests = RequestLog(database.now)
        logger.info("%s owns %s", type(self).__name__, database.path)

    async def write(
        self,
        operation: Callable[[sqlite3.Connection], T],
        request: RequestId | None = None,
        *,
        is_small: bool = False,
    ) -> T:
        """Run the operation in the next transaction; the result comes after the commit.

        Args:
            operation: what to do with the connection.
            request: whose it is; the operation of one request is done once, however often it comes.
            is_small: whether it writes some kilobytes at most.
        """
        try:
            return await self._writes.run(
                lambda connection: self._requests.once(connection, request, operation), is_small=is_small
            )
        except LETHAL as error:
            self._end(error)

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
        """What all actors tell: transactions committed, and when this process took over, in seconds since the epoch."""
        return {"transactions": self._writes.transactions, "started_at": self.started_at}
