"""What goes wrong between a process and the engine: whether trying again helps, and how it is told."""

from typing import Final, NamedTuple

from redis import exceptions

from seedcore.errors import (
    AuthenticationFailedError,
    EngineUnavailableError,
    ItemDamagedError,
    RequestAbandonedError,
    SeedCoreError,
    StoreFullError,
    StoreUnavailableError,
)
from seedcore.memory_url import Address

GIVEN_UP: Final = "SEEDCOREGIVENUP"  # what our scripts refuse with
NO_PIECES: Final = "SEEDCORENOPIECES"
NOT_PERMITTED: Final = (
    "the engine at {0} does not permit its user what the memory needs: its ACL must allow all keys that begin with "
    "'seedcore:' and scripts, see docs/valkey.md"
)


TIMEOUTS: Final = (exceptions.TimeoutError, TimeoutError)  # of the client library, and of a coroutine of ours


class NotReplicatedError(exceptions.RedisError):
    """Raised when a write did not reach as many replicas as it must."""


class Refusal(NamedTuple):
    """One row: what the engine, or the way to it, says.

    Args:
        sign: the class of the client's exception, or some, or what the message has in it.
        is_passing: whether the same call may work a moment later.
        told: what is told if it does not; `{0}` is the address.
        error: raised then.
    """

    sign: type[Exception] | tuple[type[Exception], ...] | str
    is_passing: bool
    told: str
    error: type[SeedCoreError]


# The first that fits is taken.
REFUSALS: Final = (
    Refusal(GIVEN_UP, False, "the write was given up by its caller, or answered before, and is not done now; send it "
            "as a new one", RequestAbandonedError),
    Refusal(NO_PIECES, False, "the arrays of a value are not at {0} any more; set the value once more",
            StoreUnavailableError),
    Refusal("WRONGTYPE", False, "at {0} a key of another application stands in the way of ours, which begin with "
            "'seedcore:'. Give one of the two another database, as in MEMORY_URL=valkey://HOST:PORT/1",
            ItemDamagedError),
    Refusal(exceptions.OutOfMemoryError, False, "the engine at {0} has no memory left for a write: raise its "
            "maxmemory, or delete items", StoreFullError),
    Refusal("MISCONF Errors writing to the AOF file: No space left", False, "the engine at {0} cannot write to its "
            "full disk: free space there, and writes go on", StoreFullError),
    Refusal("MISCONF", False, "the engine at {0} cannot write its file; let it write there, and writes go on",
            StoreUnavailableError),
    Refusal(exceptions.AuthenticationError, False, "the engine at {0} does not take the user and password: MEMORY_URL "
            "names the user, MEMORY_PASSWORD in .env.local or MEMORY_PASSWORD_FILE the password",
            AuthenticationFailedError),
    Refusal(exceptions.NoPermissionError, False, NOT_PERMITTED, AuthenticationFailedError),
    Refusal("can't run this command", False, NOT_PERMITTED, AuthenticationFailedError),
    Refusal("ACL failure in script", False, NOT_PERMITTED, AuthenticationFailedError),
    Refusal("certificate verify failed", False, "the certificate of the engine at {0} is not one that is trusted: "
            "MEMORY_TLS_CA_FILE names its authority, and it must be for the host in MEMORY_URL",
            AuthenticationFailedError),
    Refusal("tlsv13 alert certificate required", False, "the engine at {0} wants a certificate of its clients: "
            "MEMORY_TLS_CERT_FILE and MEMORY_TLS_KEY_FILE", AuthenticationFailedError),
    Refusal(exceptions.BusyLoadingError, True, "the engine at {0} still loads its items from its file; wait",
            EngineUnavailableError),
    Refusal(exceptions.ReadOnlyError, True, "{0} is a replica, which takes no writes: name the primary in MEMORY_URL, "
            "or the sentinels", EngineUnavailableError),
    Refusal(exceptions.MasterDownError, True, "{0} is a replica that has lost its primary; start it, or name the "
            "sentinels in MEMORY_URL", EngineUnavailableError),
    Refusal(NotReplicatedError, True, "too few replicas of {0} have the write, so it is not acknowledged: start one, "
            "or ask for fewer with ?replicas=N in MEMORY_URL", EngineUnavailableError),
    Refusal("NOREPLICAS", True, "too few replicas of {0} are connected, so it takes no writes: start one",
            EngineUnavailableError),
    Refusal(exceptions.TryAgainError, True, "{0} moves the keys of a slot elsewhere; wait", EngineUnavailableError),
    Refusal(exceptions.MovedError, True, "{0} moves its slots; wait", EngineUnavailableError),
    Refusal(exceptions.AskError, True, "{0} moves its slots; wait", EngineUnavailableError),
    Refusal(exceptions.ClusterDownError, True, "{0} is down: too many of its primaries are missing. Start them",
            EngineUnavailableError),
    Refusal(exceptions.RedisClusterException, True, "{0} answers with no slots: start its nodes, or name one server "
            "as valkey://HOST:PORT", EngineUnavailableError),
    Refusal("UNBLOCKED", True, "{0} has another primary now; wait", EngineUnavailableError),
    Refusal("BUSY", True, "the engine at {0} is busy with a script of another client; wait", EngineUnavailableError),
    Refusal("Script attempted to access", True, "{0} moves its slots; wait", EngineUnavailableError),
    Refusal(exceptions.ConnectionError, True, "the engine at {0} does not answer: is it started, and MEMORY_URL right?",
            EngineUnavailableError),
    Refusal(TIMEOUTS, True, "the engine at {0} does not answer in time: is it paused, or too busy?",
            EngineUnavailableError),
    Refusal(OSError, True, "the engine at {0} does not answer: is it started, and MEMORY_URL right?",
            EngineUnavailableError),
)  # fmt: skip
OTHER: Final = Refusal("", False, "the engine at {0} refuses", StoreUnavailableError)


def refusal_of(error: BaseException) -> Refusal:
    """The row that fits."""
    if isinstance(error, exceptions.RedisClusterException) and error.__cause__ is not None:
        error = _cause(error)  # which the client library hides when no node answers well
    message = str(error)
    for row in REFUSALS:
        if row.sign in message if isinstance(row.sign, str) else isinstance(error, row.sign):
            return row
    return OTHER


def _cause(error: BaseException) -> BaseException:
    return error if error.__cause__ is None else _cause(error.__cause__)


def explained(error: Exception, address: Address) -> SeedCoreError:
    """The error in the user's terms."""
    row = refusal_of(error)
    said = f" ({message})" if (message := str(error)) and not message.startswith((GIVEN_UP, NO_PIECES)) else ""
    return row.error(f"{row.told.format(address)}{said}.")
