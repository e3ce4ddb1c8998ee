"""What the three actors of the memory have in common: each has a keeper, as the engine needs it."""

from typing import Any, Protocol

from seedcore.logs import configure_logging
from seedcore.settings import Settings, load_settings


class Keeper(Protocol):
    """What does the work of an actor."""

    def perform(self, packed: list[Any]) -> list[Any]:
        """Do calls in their order."""

    def stats(self) -> dict[str, float]:
        """Numbers for whoever watches."""

    def close(self) -> None:
        """End it."""


class MemoryActor:
    """Base of them.

    Ray calls it on many threads at once. An actor with an event loop takes half as long again for each call.
    """

    _keeper: Keeper

    @staticmethod
    def begin() -> Settings:
        """What an actor does first; its settings come from the environment of the node that it runs on."""
        settings = load_settings()
        configure_logging(settings)
        return settings

    def perform(self, packed: list[Any]) -> list[Any]:
        """Do calls in their order, writes that follow each other in one transaction; each has an answer of its own.

        Args:
            packed: by `calls.pack_calls`.

        Returns:
            what `calls.unpack_answers` takes.
        """
        return self._keeper.perform(packed)

    def stats(self) -> dict[str, float]:
        """Numbers for monitor, status page and `/metrics`."""
        return self._keeper.stats()

    def close(self) -> None:
        """Answer no more; for an actor that lives in a test's process."""
        self._keeper.close()
