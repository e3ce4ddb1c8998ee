"""What may be done on an event loop itself, and what goes beside it."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from datetime import date, time, timedelta
from decimal import Decimal
from typing import Any, Final, TypeVar
from uuid import UUID

T = TypeVar("T")

INLINE_BYTES: Final = 16 * 1024  # that are copied, encoded or parsed in some ten microseconds
INLINE_ITEMS: Final = 32  # likewise, small ones
MAX_SMALL_PARTS: Final = 200
MAX_SMALL_LENGTH: Final = 4096  # of a string or of bytes
USUAL_SCALARS: Final = frozenset({type(None), bool, int, float})  # quicker to look up
SCALARS: Final = (type(None), int, float, complex, date, time, timedelta, Decimal, UUID)


def is_small(value: Any) -> bool:
    """Whether a value is handled in some ten microseconds, so that a thread would only cost time."""
    if type(value) in USUAL_SCALARS:
        return True
    waiting = [value]
    parts = 1
    while waiting:
        part = waiting.pop()
        if type(part) in USUAL_SCALARS:
            continue
        if isinstance(part, str | bytes):
            if len(part) > MAX_SMALL_LENGTH:
                return False
        elif isinstance(part, dict | list | tuple | set | frozenset):
            parts += len(part)
            if parts > MAX_SMALL_PARTS:
                return False
            waiting.extend(part)
            if isinstance(part, dict):
                waiting.extend(part.values())
        elif not isinstance(part, SCALARS):
            return False
    return True


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
