"""Looks for what may not be there yet again and again, and counts how often."""

import logging
import threading
from collections.abc import Iterable
from typing import Any, Final

from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_attempt, stop_after_delay, wait_fixed

from seedcore.settings import Settings

logger = logging.getLogger(__name__)


class _Retries:
    """Counts, on any number of threads."""

    def __init__(self) -> None:
        self.number = 0
        self._counting = threading.Lock()

    def count(self) -> None:
        with self._counting:
            self.number += 1


_retries: Final = _Retries()


def lookup_retries() -> int:
    """How often this process looked an actor or the head up once more, since the try before had failed."""
    return _retries.number


def retrying(settings: Settings, *errors: type[BaseException]) -> Iterable[Any]:
    """Attempts, until one of them ends without these errors.

    `LOOKUP_RETRIES` of them, `LOOKUP_BACKOFF_S` apart, for at most `LOOKUP_DEADLINE_S`; then the last error is raised.
    """

    def note_retry(state: RetryCallState) -> None:
        _retries.count()
        error = state.outcome.exception() if state.outcome else None
        logger.debug("try %d of %d failed: %s", state.attempt_number, settings.lookup_retries, error)

    return Retrying(
        retry=retry_if_exception_type(errors),
        stop=stop_after_attempt(settings.lookup_retries) | stop_after_delay(settings.lookup_deadline_s),
        wait=wait_fixed(settings.lookup_backoff_s),
        before_sleep=note_retry,
        reraise=True,
    )
