"""Calls that may never return run beside the caller, who may stop waiting for them."""

import asyncio
import threading

import pytest

from seedcore.event_loop import in_thread

DEADLINE_S = 10


def test_the_result_and_the_error_arrive() -> None:
    assert in_thread(lambda: 42).result(DEADLINE_S) == 42
    with pytest.raises(ZeroDivisionError):
        in_thread(lambda: 1 // 0).result(DEADLINE_S)


async def test_a_caller_who_stops_waiting_does_not_disturb_the_call() -> None:
    # An exception in the thread would fail this test, see filterwarnings in pyproject.toml.
    go, finished = threading.Event(), threading.Event()

    def call() -> None:
        go.wait(DEADLINE_S)
        finished.set()

    answer = in_thread(call)
    waiting = asyncio.ensure_future(asyncio.wrap_future(answer))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await asyncio.sleep(0)  # asyncio hands the cancellation on in the next turn of the loop
    go.set()
    assert answer.result(DEADLINE_S) is None
    assert finished.is_set()
