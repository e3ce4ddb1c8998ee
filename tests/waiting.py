"""Waits for conditions with a deadline."""

from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import httpx
from tenacity import AsyncRetrying, Retrying, retry_if_exception_type, retry_if_result, stop_after_delay, wait_fixed

T = TypeVar("T")

POLL_INTERVAL_S: Final = 0.2


def wait_until(holds: Callable[[], T | None], timeout_s: float = 60.0) -> T:
    """The first result that is true; a transport error of HTTP counts as not yet.

    Raises:
        tenacity.RetryError: it did not become true within `timeout_s` seconds.
    """
    found = Retrying(
        retry=retry_if_result(lambda result: not result) | retry_if_exception_type(httpx.TransportError),
        stop=stop_after_delay(timeout_s),
        wait=wait_fixed(POLL_INTERVAL_S),
    )(holds)
    assert found is not None
    return found


async def wait_until_async(holds: Callable[[], Awaitable[bool]], timeout_s: float = 60.0) -> None:
    """Wait for a condition in a coroutine.

    Raises:
        tenacity.RetryError: it did not become true within `timeout_s` seconds.
    """
    await AsyncRetrying(
        retry=retry_if_result(lambda result: not result),
        stop=stop_after_delay(timeout_s),
        wait=wait_fixed(POLL_INTERVAL_S),
    )(holds)
