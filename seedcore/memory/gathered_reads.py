"""Gathers reads of single items that coroutines make in the same turn of their event loop, and does them in one."""

import asyncio
from collections.abc import Callable, Mapping, Sequence

from seedcore.store.files.array_files import Encoded

ReadOne = Callable[[str, str], Encoded | None]
ReadMany = Callable[[str, Sequence[str]], Mapping[str, Encoded]]


class GatheredReads:
    """The reads of one event loop.

    The first read of a turn is done at once, since it may be the only one. Those that come in the same turn wait for
    its end and share one snapshot, which begins after all of them: SQLite takes as long to begin and end a snapshot as
    to find an item.

    Args:
        loop: that runs.
        read_one: the value of an item of an owner, or None.
        read_many: the values of items of an owner, as far as they can be had.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, read_one: ReadOne, read_many: ReadMany) -> None:
        self.loop = loop
        self._read_one = read_one
        self._read_many = read_many
        self._is_in_turn = False
        self._waiting: dict[str, dict[str, list[asyncio.Future[Encoded | None]]]] = {}  # by owner and item

    async def read(self, owner: str, item_id: str) -> Encoded | None:
        """The value of an item, or None."""
        if not self._is_in_turn:
            self._is_in_turn = True
            self.loop.call_soon(self._end_turn)
            return self._read_one(owner, item_id)
        answer: asyncio.Future[Encoded | None] = self.loop.create_future()
        self._waiting.setdefault(owner, {}).setdefault(item_id, []).append(answer)
        return await answer

    def _end_turn(self) -> None:
        self._is_in_turn = False
        waiting, self._waiting = self._waiting, {}
        for owner, answers in waiting.items():
            try:
                found = self._read_many(owner, list(answers))
            except Exception as error:  # handed to those who wait; nobody else would hear of it
                for answer in _still_waiting(answers):
                    answer.set_exception(error)
                continue
            for item_id, of_item in answers.items():
                value = found.get(item_id)
                for answer in of_item:
                    if not answer.done():  # its coroutine was cancelled
                        answer.set_result(value)


def _still_waiting(
    answers: Mapping[str, Sequence[asyncio.Future[Encoded | None]]],
) -> list[asyncio.Future[Encoded | None]]:
    return [answer for of_item in answers.values() for answer in of_item if not answer.done()]
