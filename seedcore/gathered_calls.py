"""Gathers calls of one callee that coroutines make at the same time, and sends them in one."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, Generic, TypeVar

Call = TypeVar("Call")
Answer = TypeVar("Answer")

MAX_CALLS: Final = 1000  # that travel together
MAX_UNDER_WAY: Final = 2  # one on its way while the callee does the other


class _Turn(Generic[Answer]):
    """The calls that were made in one turn of the loop; they share a deadline, since a timer each takes longer."""

    def __init__(self, loop: asyncio.AbstractEventLoop, deadline_s: float) -> None:
        self._answers: list[asyncio.Future[Answer]] = []
        self._timer = loop.call_later(deadline_s, self._expire)
        self._left = 0

    async def wait(self, answer: asyncio.Future[Answer]) -> Answer:
        self._answers.append(answer)
        self._left += 1
        try:
            return await answer
        finally:
            self._left -= 1
            if not self._left:
                self._timer.cancel()

    def _expire(self) -> None:
        for answer in self._answers:
            if not answer.done():
                answer.set_exception(TimeoutError())


class GatheredCalls(Generic[Call, Answer]):
    """The calls of one event loop to one callee, such as an actor.

    A call goes out at the end of the loop's present turn, together with those that were made in that turn. While
    `MAX_UNDER_WAY` are under way, new ones wait and then travel together, as in a group commit.

    Where `is_ready`, a call goes out at once if the one before travelled alone and none is under way: most likely there
    is nobody to wait for. It has no task of its own, so that it ends when whoever made it is cancelled.

    Args:
        send: sends the calls and returns their answers, in the same order.
        deadline_s: for the answer to each call, but to one that goes out at once `send` itself has one.
        is_ready: whether a call may go out at once.
    """

    def __init__(
        self,
        send: Callable[[list[Call]], Awaitable[list[Answer]]],
        deadline_s: float,
        is_ready: Callable[[], bool] = lambda: False,
    ) -> None:
        self._send, self._deadline_s, self._is_ready = send, deadline_s, is_ready
        self._waiting: list[tuple[Call, asyncio.Future[Answer]]] = []
        self._under_way: set[asyncio.Task[None]] = set()
        self._scheduled: asyncio.Task[None] | None = None  # that has not begun yet
        self._turn: _Turn[Answer] | None = None  # that the loop is in
        self._went_alone = True  # the one before
        self._is_one_ahead = False  # that went out at once

    async def call(self, call: Call) -> Answer:
        """The answer to the call.

        Raises:
            TimeoutError: none came within the deadline.
            Exception: what `send` raised for all calls that travelled with it.
        """
        loop = asyncio.get_running_loop()
        if self._went_alone and not (self._under_way or self._is_one_ahead) and self._is_ready():
            return await self._send_at_once(call, loop)
        answer: asyncio.Future[Answer] = loop.create_future()
        self._waiting.append((call, answer))
        self._schedule(loop)
        if self._turn is None:
            self._turn = _Turn(loop, self._deadline_s)
            loop.call_soon(self._end_turn)
        return await self._turn.wait(answer)

    async def _send_at_once(self, call: Call, loop: asyncio.AbstractEventLoop) -> Answer:
        self._is_one_ahead = True
        try:
            (answer,) = await self._send([call])
            return answer
        finally:
            self._is_one_ahead = False
            if self._waiting:
                self._schedule(loop)

    def _end_turn(self) -> None:
        self._turn = None

    def _schedule(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._scheduled is None and len(self._under_way) + self._is_one_ahead < MAX_UNDER_WAY:
            task = self._scheduled = loop.create_task(self._send_together())  # which begins at the end of the turn
            self._under_way.add(task)
            task.add_done_callback(lambda task: self._done(task, loop))

    def _done(self, task: asyncio.Task[None], loop: asyncio.AbstractEventLoop) -> None:
        self._under_way.discard(task)
        if task is self._scheduled:  # cancelled before it began
            self._scheduled = None
        if self._waiting:
            self._schedule(loop)

    async def _send_together(self) -> None:
        self._scheduled = None
        # Whoever has given up meanwhile wants nothing sent.
        wanted = [(call, answer) for call, answer in self._waiting if not answer.done()]
        together, self._waiting = wanted[:MAX_CALLS], wanted[MAX_CALLS:]
        if not together:
            return
        self._went_alone = len(together) == 1
        try:
            answers = await self._send([call for call, _ in together])
        except asyncio.CancelledError:
            for _, waiting in together:
                waiting.cancel()
            raise
        except Exception as error:  # handed to all of them; nobody waits for this task
            for _, waiting in together:
                if not waiting.done():
                    waiting.set_exception(error)
            return
        for (_, waiting), answer in zip(together, answers, strict=True):
            if not waiting.done():
                waiting.set_result(answer)
