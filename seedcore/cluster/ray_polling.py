"""Keeps a driver from using up the machine while the head is gone.

Ray 2.60 asks for errors and for logs in a thread each, and when no head answers asks again at once (print_logs and
listen_error_messages in ray/_private/worker.py). Two threads that never wait take two cores, and the process's other
threads get the interpreter seldom: the API answered up to 3 s late.
"""

import threading
from typing import Any, Final

import ray._raylet

POLL_AGAIN_S: Final = 0.5  # after a poll that no head answered

_ErrorSubscriber: Any = ray._raylet.GcsErrorSubscriber  # type: ignore[attr-defined]
_LogSubscriber: Any = ray._raylet.GcsLogSubscriber  # type: ignore[attr-defined]


class _Patience:
    """Waits where no head answers, until it is closed: Ray joins the thread that polls when it disconnects."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._closed = threading.Event()

    def close(self) -> None:
        """Poll no more, and wait no more."""
        self._closed.set()
        super().close()  # type: ignore[misc]

    def wait(self) -> None:
        """For the time after which it is to poll again."""
        self._closed.wait(POLL_AGAIN_S)


class PatientErrorSubscriber(_Patience, _ErrorSubscriber):  # type: ignore[misc]
    """Waits after a poll that no head answered."""

    def poll(self, timeout: float | None = None) -> Any:
        """The next error and its id, or None for both."""
        found = super().poll(timeout)
        if found[1] is None:
            self.wait()
        return found


class SilentErrorSubscriber(PatientErrorSubscriber):
    """Keeps to itself what Ray would print of failures in other processes, with their tracebacks."""

    def poll(self, timeout: float | None = None) -> Any:
        """Waits for the next error, and says that there was none."""
        super().poll(timeout)
        return None, None


class PatientLogSubscriber(_Patience, _LogSubscriber):  # type: ignore[misc]
    """Waits after a poll that no head answered."""

    def poll(self, timeout: float | None = None) -> Any:
        """The next lines of a log; none when no head answered."""
        found = super().poll(timeout)
        if not found or not found["lines"]:
            self.wait()
        return found


def install(*, quiet: bool) -> None:
    """Make Ray use these from its next `ray.init` on.

    Args:
        quiet: print nothing of failures in other processes.
    """
    subscriber = SilentErrorSubscriber if quiet else PatientErrorSubscriber
    ray._raylet.GcsErrorSubscriber = subscriber  # type: ignore[attr-defined]
    ray._raylet.GcsLogSubscriber = PatientLogSubscriber  # type: ignore[attr-defined]
