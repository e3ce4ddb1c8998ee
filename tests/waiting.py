"""Waits for conditions with a deadline, and finds ports."""

import random
import socket
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from typing import Final, TypeVar

import httpx
from tenacity import AsyncRetrying, Retrying, retry_if_exception_type, retry_if_result, stop_after_delay, wait_fixed

T = TypeVar("T")

POLL_INTERVAL_S: Final = 0.2
LISTENER_PORTS: Final = (20_000, 32_000)  # below those that Linux gives to clients, one of which could come between


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


def free_port() -> int:
    """A TCP port that nothing listens on now."""
    return free_ports(1)


def free_ports(number: int) -> int:
    """The first of as many TCP ports in a row that nothing listens on now."""
    while True:
        first = random.randrange(*LISTENER_PORTS)
        with ExitStack() as sockets:
            try:
                for port in range(first, first + number):
                    sockets.enter_context(socket.socket()).bind(("127.0.0.1", port))
            except OSError:
                continue
            return first
