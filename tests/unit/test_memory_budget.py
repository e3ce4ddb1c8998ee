import asyncio
import threading
from contextvars import copy_context

import pytest

from seedcore.api.memory_budget import MemoryBudget, RequestThreads, Share, current_share

SIZE = 10


def has_room(share: Share) -> bool:
    return share.room.done() and not share.room.cancelled()


async def test_the_first_that_asks_is_the_first_that_gets() -> None:
    budget = MemoryBudget(SIZE)
    large, second, small, nothing = [budget.ask(size) for size in (8, 5, 1, 0)]
    assert [has_room(share) for share in (large, second, small, nothing)] == [True, False, False, True]
    assert budget.waiting == 2
    large.release()
    assert [has_room(share) for share in (second, small)] == [True, True]
    assert budget.waiting == 0


async def test_whoever_gives_up_lets_the_next_one_pass() -> None:
    budget = MemoryBudget(SIZE)
    taken, first, second = budget.ask(8), budget.ask(5), budget.ask(2)
    first.release()
    assert has_room(second)
    waiter = budget.ask(SIZE)
    waiter.room.cancel()  # as the end of a coroutine that awaits it does
    waiter.release()
    taken.release()
    second.release()
    assert has_room(budget.ask(SIZE))


async def test_a_share_stays_taken_until_the_last_thread_is_done() -> None:
    budget = MemoryBudget(SIZE)
    share = budget.ask(SIZE)
    go_on = threading.Event()
    with RequestThreads(max_workers=1) as threads:
        context = copy_context()
        context.run(current_share.set, share)
        running = context.run(threads.submit, go_on.wait)
        queued = context.run(threads.submit, go_on.wait)
        share.release()
        queued.cancel()
        other = budget.ask(1)
        await asyncio.sleep(0)
        assert not has_room(other)
        go_on.set()
        await asyncio.wait_for(other.room, 10)
        assert running.result()


async def test_threads_without_a_request_hold_nothing() -> None:
    with RequestThreads(max_workers=1) as threads:
        assert await asyncio.wrap_future(threads.submit(lambda: 5)) == 5
        with pytest.raises(ZeroDivisionError):
            await asyncio.wrap_future(threads.submit(lambda: 1 / 0))
