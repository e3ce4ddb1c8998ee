"""THE table of singleton actors: our own rows, and those of `SINGLETONS` in app/actors.py.

Bootstrap, monitor, verify, the API's `/readyz` and `/actors` all know the actors that are in it.
"""

import inspect
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from seedcore.actors.miss_tracker import MissTracker
from seedcore.actors.mw_store import MwStore
from seedcore.actors.shared_cache import SharedCache
from seedcore.application import declared, place_of
from seedcore.errors import InvalidSingletonError
from seedcore.settings import Settings

STATE_SHARE: Final = 0.001  # of the state resource; small, since it pins actors to nodes and does not ration them
THREADS: Final = 64  # of an actor with a store; as many calls can wait for the disk, and then share a transaction


@dataclass(frozen=True)
class Singleton:
    """One row: an actor of which exactly one lives in the namespace.

    Args:
        name: its name in Ray.
        actor_class: a plain class at the top level of a module. It reads its settings from its node's environment,
            so that it finds them again after each restart.
        arguments: of its constructor, by name.
        options: for Ray's `.options()`, over the ones that `actor_options` gives every singleton.

    Raises:
        InvalidSingletonError: no actor can be made from this; the message says why.
    """

    name: str
    actor_class: type
    arguments: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse what no actor can be made from, where the traceback names the row."""
        if not isinstance(self.name, str) or not self.name:
            raise self._refused(f"its name must be a str of at least one character, not {self.name!r}")
        if not inspect.isclass(self.actor_class):
            raise self._refused(f"{self.actor_class!r} is no class; write the class itself, Ray creates the object")
        if "<locals>" in self.actor_class.__qualname__:
            raise self._refused(f"the class {self.class_name} is inside of a function; move it to the top of a module")
        try:
            inspect.signature(self.actor_class).bind(**self.arguments)
        except ValueError:  # of a class in C, which has no signature to look at
            pass
        except TypeError as error:
            raise self._refused(f"{self.class_name} does not take {dict(self.arguments)}: {error}") from error
        if not self.is_ours and self.options:
            self._require_known_options()

    def _require_known_options(self) -> None:
        import ray  # late, since most rows have none

        try:
            ray.remote(self.actor_class).options(**self.options)
        except Exception as error:  # of many types
            raise self._refused(f"Ray does not take its options: {str(error).partition('. ')[0]}") from error

    def _refused(self, reason: str) -> InvalidSingletonError:
        return InvalidSingletonError(f"the singleton {self.name!r} is refused: {reason}")

    @property
    def is_ours(self) -> bool:
        """Whether it is one of the template's own."""
        return self.actor_class.__module__.startswith("seedcore.")

    @property
    def class_name(self) -> str:
        """What monitor and status pages call it."""
        return self.actor_class.__name__


def singletons(settings: Settings) -> tuple[Singleton, ...]:
    """The rows, in the order in which they are listed everywhere.

    Raises:
        InvalidAppError, InvalidSingletonError: app/actors.py has something else than rows, or two of one name.
        Exception: what app/actors.py itself raises when it is imported.
    """
    rows = (
        _with_store(settings.miss_tracker_actor_name, MissTracker, settings),
        _with_store(settings.shared_cache_actor_name, SharedCache, settings),
        _with_store(settings.mw_actor_name, MwStore, settings),
        *_of_application(),
    )
    require_different_names(rows)
    return rows


def _of_application() -> Sequence[Singleton]:
    rows: Sequence[Any] = declared("actors", "SINGLETONS", Sequence) or ()  # type: ignore[type-abstract]
    for row in rows:
        if not isinstance(row, Singleton):
            raise InvalidSingletonError(
                f"{place_of('actors', 'SINGLETONS')} must have Singleton(...) in it, not {row!r}"
            )
    return rows


def require_different_names(rows: Sequence[Singleton]) -> None:
    """Refuse two singletons of one name.

    Raises:
        InvalidSingletonError: names them.
    """
    twice = sorted(name for name, times in Counter(row.name for row in rows).items() if times > 1)
    if twice:
        raise InvalidSingletonError(
            f"two singletons have the same name: {', '.join(twice)}. Rename the one of "
            f"{place_of('actors', 'SINGLETONS')}; the template's own three are called as MW_ACTOR_NAME, "
            "SHARED_CACHE_ACTOR_NAME and MISS_TRACKER_ACTOR_NAME say."
        )


def store_of(name: str, settings: Settings) -> str:
    """The file of one of our singletons, below `STATE_DIR`."""
    # One for each name in each namespace: two singletons that wrote to one would fence each other off for ever.
    return f"{settings.ray_namespace}/{name}.sqlite3"


def _with_store(name: str, actor_class: type, settings: Settings) -> Singleton:
    return Singleton(name, actor_class, {"store": store_of(name, settings)}, {"max_concurrency": THREADS})


def actor_options(row: Singleton, settings: Settings) -> dict[str, Any]:
    """Ray's options of a singleton: one per name and namespace, outliving its creator, restarted for ever."""
    return {
        "name": row.name,
        "namespace": settings.ray_namespace,
        "lifetime": "detached",
        "get_if_exists": True,
        "max_restarts": -1,
        "max_task_retries": -1,
        "num_cpus": 0,
        "resources": {settings.state_resource: STATE_SHARE},
        **row.options,
    }
