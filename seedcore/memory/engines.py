"""Which engine keeps the memory: the table of engines, by the scheme of `MEMORY_URL`."""

from functools import cache

from seedcore.settings import Settings
from seedcore.store.engine import Memory


@cache
def memory_of_process(settings: Settings) -> Memory:
    """What all managers of this process share."""
    if settings.memory_url:
        from seedcore.store.valkey.memory import ValkeyMemory  # late, since most have none of it

        return ValkeyMemory(settings)
    from seedcore.memory.actor_memory import ActorMemory

    return ActorMemory(settings)
