"""What may be done on an event loop itself, and what goes beside it."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Final, TypeVar

T = TypeVar("T")

INLINE_BYTES: Final = 16 * 1024  # that are copied, encoded or parsed in some ten microseconds
INLINE_ITEMS: Final = 32  # likewise, small ones


def in_thread(function: Callable[[], T]) -> Future[T]:
    """Run a call that may never return on a thread that does not keep the process alive."""
    answer: Future[T] = Future()
    answer.set_running_or_notify_cancel()  # whoever stops waiting cannot cancel it, as the call goes on

    def run() -> None:
        try:
            answer.set_result(function())
        except BaseException as error:  # handed to whoever waits for the answer
            answer.set_exception(error)

    threading.Thread(target=run, daemon=True, name=getattr(function, "__name__", "call")).start()
    return answer
