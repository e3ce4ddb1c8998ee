"""What may be done on an event loop itself, and what goes beside it."""

import asyncio
import threading
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import Any, Final, Generic, TypeVar

T = TypeVar("T")

INLINE_BYTES: Final = 16 * 1024  # that are copied, encoded or parsed in some ten microseconds
INLINE_ITEMS: Final = 32  # likewise, small ones

_asking: dict[Hashable, Future[Any]] = {}
_asking_lock = threading.Lock()


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


def one_at_a_time(question: Hashable, ask: Callable[[], T]) -> Future[T]:
    """The answer to a question that may never be answered; while it is not, nobody asks it again.

    Else each poll during an absence would leave a thread behind.
    """
    with _asking_lock:
        answer = _asking.get(question)
        if answer is not None and not answer.done():
            return answer
        answer = _asking[question] = in_thread(ask)
    answer.add_done_callback(lambda done: _forget(question, done))
    return answer


def _forget(question: Hashable, answer: Future[Any]) -> None:
    with _asking_lock:
        if _asking.get(question) is answer:
            del _asking[question]


class OfEachLoop(Generic[T]):
    """One of a kind for each event loop, since what belongs to one must not be used on another.

    Args:
        make: makes it for the loop that runs.
    """

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._of_thread = threading.local()

    def get(self) -> T:
        """That of the loop that runs on this thread."""
        loop = asyncio.get_running_loop()
        if getattr(self._of_thread, "loop", None) is not loop:
            self._of_thread.loop, self._of_thread.made = loop, self._make()
        made: T = self._of_thread.made
        return made
