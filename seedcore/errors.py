"""What can go wrong, in the user's terms. Every message says what was tried and what to do."""

from collections.abc import Mapping
from typing import Any, Final


class SeedCoreError(Exception):
    """Base of all errors that SeedCore raises on purpose."""


class ClusterUnreachableError(SeedCoreError):
    """Raised when no Ray head answers at `RAY_ADDRESS`."""


class AuthenticationFailedError(SeedCoreError):
    """Raised when the token file is missing or empty, or the head does not accept the token."""


class VersionMismatchError(SeedCoreError):
    """Raised when this process runs another Ray or Python than the cluster."""


class ActorNotFoundError(SeedCoreError):
    """Raised when no actor has the name in the namespace."""


class ActorUnavailableError(SeedCoreError):
    """Raised when an actor exists but did not answer before the deadline."""


class ActorFailedError(SeedCoreError):
    """Raised when a method of an actor raised what it should not; the actor's log has the traceback."""


EXIT_ONLY_YOURS: Final = 70  # of bootstrap, for the error below; sysexits.h: an error in the software


class BootstrapError(SeedCoreError):
    """Raised when a singleton could not be created or did not answer.

    Args:
        message: which, and why.
        only_yours: whether all of those are the application's, so that the memory works.
    """

    def __init__(self, message: str, *, only_yours: bool = False) -> None:
        super().__init__(message)
        self.only_yours = only_yours


class InvalidAppError(SeedCoreError):
    """Raised when a file of `app/` does not have what is looked for in it."""


class InvalidSingletonError(SeedCoreError):
    """Raised for a row of the table of singletons that no actor can be made from."""


class BlockingCallError(SeedCoreError):
    """Raised when a blocking method is called on a running event loop; its `_async` twin is meant."""


class InvalidKeyError(SeedCoreError, ValueError):
    """Raised for an organ id or item id that is not a string, is empty, or is too long."""


class InvalidValueError(SeedCoreError, ValueError):
    """Raised for a value that the working memory cannot keep: its type or its nesting."""


class UnreadableItemsError(SeedCoreError):
    """Raised by a get of many items of which some are there and cannot be read; it has the others.

    Args:
        message: names them.
        unreadable: the error of each, by its id.
        found: the other items that were found, as the get would have returned them.
    """

    def __init__(
        self,
        message: str,
        unreadable: Mapping[str, SeedCoreError] | None = None,
        found: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.unreadable = dict(unreadable or {})
        self.found = dict(found or {})


class InvalidTtlError(SeedCoreError, ValueError):
    """Raised for a time to live that is not a number of seconds above zero."""


class ValueTooLargeError(SeedCoreError, ValueError):
    """Raised for a value with more bytes than `VALUE_MAX_BYTES` or than the whole shared cache may hold."""


class StoreUnavailableError(SeedCoreError):
    """Raised when the SQLite file cannot be opened, read or written; nothing of the failed call was kept."""


class StoreFullError(StoreUnavailableError):
    """Raised for a write when the store's disk, quota or file size is used up; reads go on."""


class StoreDamagedError(StoreUnavailableError):
    """Raised when the SQLite file itself is broken; the next opening sets it aside and salvages its items."""


class ItemDamagedError(SeedCoreError):
    """Raised for an item whose bytes changed on the disk; setting or deleting it, or a backup, helps."""


class StoreFencedError(SeedCoreError):
    """Raised in a writer after another process has opened the same store as its writer."""


class RequestAbandonedError(SeedCoreError):
    """Raised in an actor for a request that its caller gave up on; nothing of it was kept."""


class EngineUnavailableError(StoreUnavailableError):
    """Raised when the engine of the memory did not answer before the deadline; a write may or may not be kept."""


# After these nobody knows whether a write was done.
UNANSWERED: Final = (ActorNotFoundError, ActorUnavailableError, EngineUnavailableError)
