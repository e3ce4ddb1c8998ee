"""Which engine keeps the memory: the table of engines, by the scheme of `MEMORY_URL`, each imported when it is used."""

import threading
from collections.abc import Callable
from functools import cache
from typing import Final

from seedcore.settings import Settings
from seedcore.store.engine import Memory


def _files(settings: Settings) -> Memory:
    from seedcore.memory.actor_memory import ActorMemory

    return ActorMemory(settings)


def _valkey(settings: Settings) -> Memory:
    from seedcore.store.valkey.memory import ValkeyMemory

    return ValkeyMemory(settings)


ENGINES: Final[dict[str, Callable[[Settings], Memory]]] = {
    "": _files,
    "valkey": _valkey,
    "valkeys": _valkey,
    "redis": _valkey,
    "rediss": _valkey,
}


_making: Final = threading.Lock()


def memory_of_process(settings: Settings) -> Memory:
    """What all managers of this process share."""
    with _making:
        return _memory(settings)


def end_memory(settings: Settings) -> None:
    """End what the managers of this process have begun, before the actors go; for tests."""
    memory_of_process(settings).close()
    _memory.cache_clear()


@cache
def _memory(settings: Settings) -> Memory:
    scheme = settings.memory_url.partition("://")[0].partition("+")[0]
    return ENGINES[scheme](settings)
