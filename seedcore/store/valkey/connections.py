"""Connections to one server that are used again and again, of threads or of one event loop.

The client library's own pools ask a connection twice before each command whether it still works, which takes as long as
the command; here whoever finds one broken tries again anyway.
"""

import os
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import redis
import redis.asyncio
from redis.backoff import NoBackoff
from redis.exceptions import ResponseError
from redis.retry import Retry

from seedcore.gathered_calls import GatheredCalls

Command = tuple[Any, ...]


class Connections:
    """Those of all threads of a process.

    Args:
        options: of a connection, as the client library names them; `ssl` is whether it is TLS.
    """

    def __init__(self, options: Mapping[str, Any]) -> None:
        kind: Any = redis.SSLConnection if options["ssl"] else redis.Connection
        rest = {name: value for name, value in options.items() if name != "ssl"}
        self._connect: Callable[[], Any] = lambda: kind(**rest, retry=Retry(NoBackoff(), 0))
        self._idle: deque[Any] = deque()
        self._pid = os.getpid()

    def send(self, commands: Sequence[Command]) -> list[Any]:
        """The answers, errors of the server among them.

        Raises:
            redis.exceptions.RedisError, OSError: there are none.
        """
        if self._pid != os.getpid():  # forked: the connections are another process's
            self._pid, self._idle = os.getpid(), deque()
        try:
            connection = self._idle.pop()
        except IndexError:
            connection = self._connect()
            connection.connect()
        try:
            connection.send_packed_command(connection.pack_commands(commands), check_health=False)
            answers = [_answer(connection) for _ in commands]
        except BaseException:
            connection.disconnect()
            raise
        self._idle.append(connection)
        return answers

    def close(self) -> None:
        """End those that nobody uses now."""
        while self._idle:
            self._idle.pop().disconnect()


def _answer(connection: Any) -> Any:
    try:
        return connection.read_response(disconnect_on_error=False)
    except ResponseError as error:
        return error


class LoopConnections:
    """Those of one event loop; what coroutines send in the same turn travels together.

    Args:
        options: as those of `Connections`.
        deadline_s: for the answers.
    """

    def __init__(self, options: Mapping[str, Any], deadline_s: float) -> None:
        kind: Any = redis.asyncio.SSLConnection if options["ssl"] else redis.asyncio.Connection
        rest = {name: value for name, value in options.items() if name != "ssl"}
        self._connect: Callable[[], Any] = lambda: kind(**rest, retry=redis.asyncio.retry.Retry(NoBackoff(), 0))
        self._idle: list[Any] = []
        self.gathered: GatheredCalls[Sequence[Command], list[Any]] = GatheredCalls(self._send_all, deadline_s)

    async def _send_all(self, calls: list[Sequence[Command]]) -> list[list[Any]]:
        answers = iter(await self.send([command for commands in calls for command in commands]))
        return [[next(answers) for _ in commands] for commands in calls]

    async def send(self, commands: Sequence[Command]) -> list[Any]:
        """As `Connections.send`, without blocking the event loop."""
        if self._idle:
            connection = self._idle.pop()
        else:
            connection = self._connect()
            await connection.connect()
        try:
            await connection.send_packed_command(connection.pack_commands(commands), check_health=False)
            answers = [await _answer_async(connection) for _ in commands]
        except BaseException:
            await connection.disconnect(nowait=True)
            raise
        self._idle.append(connection)
        return answers


async def _answer_async(connection: Any) -> Any:
    try:
        return await connection.read_response(disconnect_on_error=False)
    except ResponseError as error:
        return error
