"""Connections to one server that are used again and again, of threads or of one event loop.

The client library's own pools ask a connection twice before each command whether it still works, which takes as long as
the command; here whoever finds one broken tries again anyway. Now and then each asks whether its server is a primary
still, since one that has become a replica goes on answering reads, with ever older items.
"""

import asyncio
import os
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Final

import redis
import redis.asyncio
from redis.backoff import NoBackoff
from redis.exceptions import ReadOnlyError, RedisError, ResponseError
from redis.retry import Retry

from seedcore.event_loop import INLINE_BYTES
from seedcore.gathered_calls import GatheredCalls

Command = tuple[Any, ...]
BROKEN: Final = (RedisError, OSError)  # after which the others of the server are most likely broken as well

ROLE: Final[Command] = ("ROLE",)
ROLE_EVERY_S: Final = 2.0


class Connections:
    """Those of all threads of a process.

    Args:
        options: of a connection, as the client library names them; `ssl` is whether it is TLS.
    """

    def __init__(self, options: Mapping[str, Any]) -> None:
        kind: Any = redis.SSLConnection if options["ssl"] else redis.Connection
        rest = {name: value for name, value in options.items() if name != "ssl"}
        self._connect: Callable[[], Any] = lambda: kind(**rest, retry=Retry(NoBackoff(), 0))
        self._idle: deque[tuple[Any, float]] = deque()  # each with the time when its role is to be asked
        self._pid = os.getpid()

    def send(self, commands: Sequence[Command]) -> list[Any]:
        """The answers, errors of the server among them.

        Raises:
            redis.exceptions.RedisError, OSError: there are none.
        """
        if self._pid != os.getpid():  # forked: the connections are another process's
            self._pid, self._idle = os.getpid(), deque()
        try:
            connection, due_at = self._idle.pop()
        except IndexError:
            connection, due_at = self._connect(), 0.0
            connection.connect()
        asks, due_at = _role_due(due_at)
        sent = [ROLE, *commands] if asks else commands
        try:
            connection.send_packed_command(connection.pack_commands(sent), check_health=False)
            answers = [_answer(connection) for _ in sent]
            if asks:
                _require_primary(answers.pop(0))
        except BaseException as error:
            connection.disconnect()
            if isinstance(error, BROKEN):
                self.close()
            raise
        self._idle.append((connection, due_at))
        return answers

    def close(self) -> None:
        """End those that nobody uses now."""
        with suppress(IndexError):  # when there are no more, whoever has taken the last
            while True:
                self._idle.pop()[0].disconnect()


def _answer(connection: Any) -> Any:
    try:
        return connection.read_response(disconnect_on_error=False)
    except ResponseError as error:
        return error


def _role_due(due_at: float) -> tuple[bool, float]:
    """Whether the role is to be asked now, and when the next time."""
    now = time.monotonic()
    return (True, now + ROLE_EVERY_S) if now >= due_at else (False, due_at)


def _require_primary(role: Any) -> None:
    if isinstance(role, list) and role[0] != b"master":  # else the user may not ask
        raise ReadOnlyError("it is a replica now")


class LoopConnections:
    """Those of one event loop; what coroutines send at the same time travels together.

    Args:
        options: as those of `Connections`.
        deadline_s: for the answers.
        wait: what follows the commands of writes, once for all that travel together; its answer is each one's last.
    """

    def __init__(self, options: Mapping[str, Any], deadline_s: float, wait: Sequence[Command]) -> None:
        kind: Any = redis.asyncio.SSLConnection if options["ssl"] else redis.asyncio.Connection
        rest = {name: value for name, value in {**options, "socket_timeout": None}.items() if name != "ssl"}
        self._connect: Callable[[], Any] = lambda: kind(**rest, retry=redis.asyncio.retry.Retry(NoBackoff(), 0))
        # One for all that `send` does: the client library's has a task for each write, which takes longer than that.
        self._timeout_s: float = options["socket_timeout"]
        self._idle: list[tuple[Any, float]] = []  # as those of `Connections`
        self._wait = wait
        # Whoever gives up may take a connection with it, but never one that is just being made, as the next would
        # have to begin that anew.
        gathered = partial(GatheredCalls[Sequence[Command], list[Any]], deadline_s=deadline_s, is_ready=self._is_idle)
        self.reads = gathered(self._send_all)
        self.writes = gathered(self._send_writes)  # of their own, so that no read waits for a replica

    def _is_idle(self) -> bool:
        return bool(self._idle)

    async def _send_all(self, calls: list[Sequence[Command]]) -> list[list[Any]]:
        answers = iter(await self.send([command for commands in calls for command in commands]))
        return [[next(answers) for _ in commands] for commands in calls]

    async def _send_writes(self, calls: list[Sequence[Command]]) -> list[list[Any]]:
        *answers, (waited,) = await self._send_all([*calls, self._wait])
        return [[*found, waited] for found in answers]

    async def send(self, commands: Sequence[Command]) -> list[Any]:
        """As `Connections.send`, without blocking the event loop."""
        if self._idle:
            connection, due_at = self._idle.pop()
        else:
            connection, due_at = self._connect(), 0.0
        asks, due_at = _role_due(due_at)
        sent = [ROLE, *commands] if asks else commands
        try:
            answers = await self._exchange(connection, sent)
            if asks:
                _require_primary(answers.pop(0))
        except BaseException as error:
            idle, self._idle = (self._idle, []) if isinstance(error, BROKEN) else ([], self._idle)
            for broken in (connection, *(one for one, _ in idle)):
                await broken.disconnect(nowait=True)
            raise
        self._idle.append((connection, due_at))
        return answers

    async def _exchange(self, connection: Any, commands: Sequence[Command]) -> list[Any]:
        answers: list[Any] = []
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(self._timeout_s) as limit:
            if not connection.is_connected:
                await connection.connect()
                limit.reschedule(loop.time() + self._timeout_s)
            transport = connection._writer.transport
            packed = connection.pack_commands(commands)
            try:
                await connection.send_packed_command(packed, check_health=False)
                if sum(map(len, packed)) > INLINE_BYTES:  # others are sent in no time
                    limit.reschedule(loop.time() + self._timeout_s)
                for _ in commands:
                    if answers:
                        limit.reschedule(loop.time() + self._timeout_s)
                    answers.append(await _answer_async(connection))
            except BaseException:
                transport.abort()  # one that is closed still sends what it has, however late
                raise
        return answers


async def _answer_async(connection: Any) -> Any:
    try:
        return await connection.read_response(disconnect_on_error=False)
    except ResponseError as error:
        return error
