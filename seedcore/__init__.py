"""SeedCore: shared state for Ray applications in named singleton actors.

What is listed here is public; all else may change with any version. Each name is imported when it is first used, so
that a process pays for what it takes.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from seedcore import code_version as code_version  # first, so that it sees the source that the others are loaded from

if TYPE_CHECKING:
    from seedcore.cluster.bootstrap import bootstrap_actors, get_singleton
    from seedcore.cluster.singletons import Singleton
    from seedcore.errors import (
        ActorFailedError,
        ActorNotFoundError,
        ActorUnavailableError,
        AuthenticationFailedError,
        BlockingCallError,
        BootstrapError,
        ClusterUnreachableError,
        EngineUnavailableError,
        InvalidAppError,
        InvalidKeyError,
        InvalidSingletonError,
        InvalidTtlError,
        InvalidValueError,
        ItemDamagedError,
        RequestAbandonedError,
        SeedCoreError,
        StoreDamagedError,
        StoreFencedError,
        StoreFullError,
        StoreUnavailableError,
        UnreadableItemsError,
        ValueTooLargeError,
        VersionMismatchError,
    )
    from seedcore.memory.working_memory import MwManager
    from seedcore.store.values.value_types import ValueType

__version__ = "0.3.0"

__all__ = [
    "ActorFailedError",
    "ActorNotFoundError",
    "ActorUnavailableError",
    "AuthenticationFailedError",
    "BlockingCallError",
    "BootstrapError",
    "ClusterUnreachableError",
    "EngineUnavailableError",
    "InvalidAppError",
    "InvalidKeyError",
    "InvalidSingletonError",
    "InvalidTtlError",
    "InvalidValueError",
    "ItemDamagedError",
    "MwManager",
    "RequestAbandonedError",
    "SeedCoreError",
    "Singleton",
    "StoreDamagedError",
    "StoreFencedError",
    "StoreFullError",
    "StoreUnavailableError",
    "UnreadableItemsError",
    "ValueTooLargeError",
    "ValueType",
    "VersionMismatchError",
    "bootstrap_actors",
    "get_singleton",
]

_HOMES = {
    "MwManager": "seedcore.memory.working_memory",
    "Singleton": "seedcore.cluster.singletons",
    "ValueType": "seedcore.store.values.value_types",
    "bootstrap_actors": "seedcore.cluster.bootstrap",
    "get_singleton": "seedcore.cluster.bootstrap",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'seedcore' has no attribute {name!r}")
    value = getattr(import_module(_HOMES.get(name, "seedcore.errors")), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*globals(), *__all__]
