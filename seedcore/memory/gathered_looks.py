"""Gathers looks at a store's file that coroutines make in the same turn of their event loop, and does them in one."""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from seedcore.store.sqlite.store_reader import Unread
from seedcore.store.values.codec import Encoded

LookAtOne = Callable[[str, str], Encoded | Unread | None]
LookAtMany = Callable[[str, Sequence[str]], Mapping[str, Encoded] | None]


class GatheredLooks:
    """The looks of one event loop.

    The first one of a turn is done at once, since it may be the only one, and so are further ones of that task, which
    follow each other. Those of other tasks in the same turn wait for its end and share one snapshot, which begins after
    all of them: SQLite takes as long to begin and end a snapshot as to find an item.

    Args:
        look_at_one: what the file tells of an item of an owner.
        look_at_many: the items of an owner that are there; None if their actor must be asked.
    """

    def __init__(self, look_at_one: LookAtOne, look_at_many: LookAtMany) -> None:
        self._look_at_one = look_at_one
        self._look_at_many = look_at_many
        self._first_task: asyncio.Task[Any] | None = None  # of the turn that the loop is in
        self._waiting: dict[str, dict[str, list[asyncio.Future[Encoded | Unread | None]]]] = {}  # by owner and item

    async def look(self, owner: str, item_id: str) -> Encoded | Unread | None:
        """What the file tells of an item."""
        task = asyncio.current_task()
        if self._first_task is None:
            self._first_task = task
            asyncio.get_running_loop().call_soon(self._end_turn)
        if self._first_task is task:
            return self._look_at_one(owner, item_id)
        answer: asyncio.Future[Encoded | Unread | None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(owner, {}).setdefault(item_id, []).append(answer)
        return await answer

    def _end_turn(self) -> None:
        self._first_task = None
        waiting, self._waiting = self._waiting, {}
        for owner, answers in waiting.items():
            try:
                found = self._look_at_many(owner, list(answers))
            except Exception as error:  # handed to those who wait; nobody else would hear of it
                for answer in _still_waiting(answers.values()):
                    answer.set_exception(error)
                continue
            for item_id, of_item in answers.items():
                value = Unread.ASK if found is None else found.get(item_id)
                for answer in _still_waiting([of_item]):
                    answer.set_result(value)


def _still_waiting(
    answers: Iterable[list[asyncio.Future[Encoded | Unread | None]]],
) -> list[asyncio.Future[Encoded | Unread | None]]:
    """Those whose coroutine was not cancelled."""
    return [answer for of_item in answers for answer in of_item if not answer.done()]
