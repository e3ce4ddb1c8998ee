"""Carries all items between the engine at `MEMORY_URL` and SQLite files, which are what a backup has in it."""

import logging
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from itertools import groupby
from pathlib import Path
from typing import Any, Final, NamedTuple

from seedcore.cluster.singletons import store_of
from seedcore.settings import Settings
from seedcore.store import limits
from seedcore.store.engine import HotItem
from seedcore.store.files import array_files
from seedcore.store.files.connection import open_connection
from seedcore.store.sqlite.item_store import Bounds, ItemStore
from seedcore.store.sqlite.miss_store import MissStore
from seedcore.store.valkey.memory import ValkeyMemory
from seedcore.store.values.codec import Encoded, WithArrays

logger = logging.getLogger(__name__)

BATCH_ITEMS: Final = 500
BATCH_BYTES: Final = 8 * 2**20
Row = tuple[str, str, Encoded, float | None]  # owner, item id, value, seconds since the epoch at which it expires


class Exported(NamedTuple):
    """What an export has written.

    Args:
        names: of the files, below the folder.
        damaged: what is wrong with each item that was left out.
    """

    names: list[str]
    damaged: list[str]


def export_items(settings: Settings, folder: Path, *, leaves_damaged: bool = False) -> Exported:
    """Write what the engine has into SQLite files, while others go on writing there.

    Args:
        settings: where the engine is, and what the files are called.
        folder: for them, in the place of `STATE_DIR`.
        leaves_damaged: whether damaged items are left out; else they raise.

    Raises:
        SeedCoreError: the engine does not answer, or an item in it is damaged.
    """
    damaged: list[str] | None = [] if leaves_damaged else None
    memory = ValkeyMemory(settings)
    names = store_names(settings)
    (folder / settings.ray_namespace).mkdir(parents=True, exist_ok=True)
    try:
        own = ItemStore(folder / names[settings.mw_actor_name], settings.sqlite_synchronous)
        bounds = Bounds(settings.shared_cache_max_items, settings.shared_cache_max_bytes)
        shared = ItemStore(folder / names[settings.shared_cache_actor_name], settings.sqlite_synchronous, bounds)
        _put_items(settings, own, (row for row in memory.all_items(damaged) if row[0] != limits.EVERYBODY))
        _put_items(settings, shared, memory.shared_items_by_use(damaged))
        misses = MissStore(
            folder / names[settings.miss_tracker_actor_name],
            settings.sqlite_synchronous,
            settings.miss_tracker_max_items,
        )
        _put_misses(misses, memory.misses.top(settings.miss_tracker_max_items))
        for store in (own, shared, misses):
            store.database.close()
    finally:
        memory.close()
    return Exported(sorted(names.values()), damaged or [])


def import_items(settings: Settings, folder: Path) -> None:
    """Put what SQLite files have in the place of what the engine has.

    Args:
        settings: where the engine is, and what the files are called.
        folder: with all of `store_names`; whole, as `recovery.inspect_backup` says.

    Raises:
        SeedCoreError: the engine does not answer, or refuses; a part of the items may be there.
    """
    memory = ValkeyMemory(settings)
    try:
        memory.clear()
        for name, items in (
            (settings.mw_actor_name, memory.own),
            (settings.shared_cache_actor_name, memory.shared),
        ):
            for owner, ttl_s, batch in _batches(_rows(folder / store_of(name, settings))):
                items.set_encoded(owner, batch, ttl_s)
        with closing(
            open_connection(folder / store_of(settings.miss_tracker_actor_name, settings), "ro")
        ) as connection:
            memory.misses.put([HotItem(*row) for row in connection.execute(MISSES)])
    finally:
        memory.close()


MISSES: Final = "SELECT item_id, misses, overcount FROM misses"
ITEMS: Final = "SELECT owner, item_id, value, expires_at FROM items ORDER BY used, owner"


def store_names(settings: Settings) -> dict[str, str]:
    """The files that have all items of a stack, below the folder, by the name of the actor whose they are."""
    actors = settings.mw_actor_name, settings.shared_cache_actor_name, settings.miss_tracker_actor_name
    return {name: store_of(name, settings) for name in actors}


def _put_items(settings: Settings, store: ItemStore, rows: Iterable[Row]) -> None:
    for owner, ttl_s, batch in _batches(rows):
        values = {item_id: _in_file(settings, store, value) for item_id, value in batch.items()}
        with store.database.transaction() as connection:
            store.set_many(connection, owner, values, ttl_s)


def _in_file(settings: Settings, store: ItemStore, value: Encoded) -> bytes:
    if not isinstance(value, WithArrays):
        return value
    file = array_files.write(store.database.path, [value.arrays], settings.sqlite_synchronous)
    return array_files.reference(file, value.data)


def _put_misses(store: MissStore, counters: list[HotItem]) -> None:
    with store.database.transaction() as connection:
        store.put(connection, counters)


def _rows(path: Path) -> Iterator[Row]:
    with closing(open_connection(path, "ro")) as connection:
        for owner, item_id, value, expires_at in connection.execute(ITEMS):
            found = array_files.load(path, lambda item_id=item_id, value=value: {item_id: value})  # type: ignore[misc]
            yield owner, item_id, found[item_id], expires_at


def _batches(rows: Iterable[Row]) -> Iterator[tuple[str, float | None, Mapping[str, Encoded]]]:
    """Rows that follow each other, of one owner, which expire together or never; each with its seconds to live."""
    for (owner, expires_at), group in groupby(rows, key=lambda row: (row[0], row[3])):
        ttl_s = None if expires_at is None else expires_at - time.time()
        batch: dict[str, Encoded] = {}
        size = 0
        for _, item_id, value, _ in group:
            batch[item_id] = value
            size += len(value.data) + value.arrays.nbytes if isinstance(value, WithArrays) else len(value)
            if len(batch) == BATCH_ITEMS or size > BATCH_BYTES:
                yield from _living(owner, ttl_s, batch)
                batch, size = {}, 0
        yield from _living(owner, ttl_s, batch)


def _living(owner: str, ttl_s: float | None, batch: dict[str, Any]) -> Iterator[tuple[str, float | None, Any]]:
    if batch and (ttl_s is None or ttl_s > 0):
        yield owner, ttl_s, batch
