"""A store's file, where this process sees it. Its actor tells where that is."""

import logging
import time
from typing import Any, Final

from seedcore.errors import StoreUnavailableError
from seedcore.settings import Settings
from seedcore.store.sqlite.store_reader import StoreReader

logger = logging.getLogger(__name__)

LOCATE_AGAIN_S: Final = 1.0  # after the store was not where this process can read it


class Located:
    """Finds the file, and finds it anew when it cannot be read.

    Args:
        settings: where this process would see it.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._ask_at = 0.0  # on the monotonic clock
        self.reader: StoreReader | None = None

    def should_ask(self) -> bool:
        """Whether to ask the actor now."""
        now = time.monotonic()
        if self.reader is not None or now < self._ask_at:
            return False
        self._ask_at = now + LOCATE_AGAIN_S
        return True

    def use(self, location: Any) -> None:
        """Read from there, as the actor tells it."""
        self.reader = StoreReader.at(location, self._settings.state_dir)

    def lose(self, error: StoreUnavailableError) -> None:
        """Read from there no more."""
        logger.debug("%s; its actor is asked", error)
        self.reader = None
