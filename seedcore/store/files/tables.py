"""The tables of a store, step by step; what was ever in use is frozen, since there are files made by it."""

from itertools import zip_longest
from typing import Final

from seedcore.store.files.array_files import SQL_BYTES, SQL_IS_REFERENCE, SQL_NAME
from seedcore.store.files.checksums import CheckedTable
from seedcore.store.files.schema import Schema

# Each request keeps the first_incomplete that it told, so that most requests need to write this one row only.
REQUESTS: Final = (
    """CREATE TABLE clients (
           client_id BLOB PRIMARY KEY, first_incomplete INTEGER NOT NULL, last_seen REAL NOT NULL) WITHOUT ROWID""",
    """CREATE TABLE requests (
           client_id BLOB NOT NULL, number INTEGER NOT NULL, result BLOB NOT NULL, first_incomplete INTEGER NOT NULL,
           PRIMARY KEY (client_id, number)) WITHOUT ROWID""",
)
# One row for each time that the store was salvaged.
SALVAGES: Final = "CREATE TABLE salvages (set_aside TEXT NOT NULL, salvaged INTEGER NOT NULL, lost INTEGER)"
# Stores had a clock of their own until version 0.1.0; its columns stay.
CLOCK: Final = (
    "ALTER TABLE writer ADD COLUMN time_seen REAL",
    "ALTER TABLE writer ADD COLUMN clock_offset REAL",
    "ALTER TABLE writer ADD COLUMN boot_id TEXT",
    "ALTER TABLE writer ADD COLUMN clock_checksum INTEGER",
)

# What every file has, whatever else is in it: the statements of each schema step.
COMMON_STEPS: Final = (
    ("CREATE TABLE writer (only_row INTEGER PRIMARY KEY CHECK (only_row = 1), epoch INTEGER)",),
    REQUESTS,
    (SALVAGES,),
    CLOCK,
)


def store_schema(
    *steps: tuple[str, ...],
    checked: tuple[CheckedTable, ...] = (),
    counters: tuple[str, ...] = (),
    recount: tuple[str, ...] = (),
) -> Schema:
    """The schema of a store.

    Args:
        steps: its own statements for each version; empty for one that changes only what every store has.
        checked: as in `Schema`, like all others.
        counters: as in `Schema`.
        recount: as in `Schema`.
    """
    all_steps = tuple(common + own for common, own in zip_longest(COMMON_STEPS, steps, fillvalue=()))
    return Schema(all_steps, checked, counters, recount)


# --- Items

# `used` orders the items by their last use; it is NULL where there is no bound. The triggers keep the totals, so that
# they are as transactional as the items.
ITEMS_1: Final = (
    """CREATE TABLE items (
           owner TEXT NOT NULL, item_id TEXT NOT NULL, value BLOB NOT NULL, expires_at REAL, used INTEGER,
           UNIQUE (owner, item_id))""",
    "CREATE INDEX items_by_expiry ON items (expires_at) WHERE expires_at IS NOT NULL",
    "CREATE INDEX items_by_use ON items (used) WHERE used IS NOT NULL",
    """CREATE TABLE totals (
           only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
           items INTEGER NOT NULL, bytes INTEGER NOT NULL, evictions INTEGER NOT NULL, expirations INTEGER NOT NULL)""",
    "INSERT INTO totals VALUES (1, 0, 0, 0, 0)",
    """CREATE TRIGGER items_inserted AFTER INSERT ON items BEGIN
           UPDATE totals SET items = items + 1, bytes = bytes + length(new.value); END""",
    """CREATE TRIGGER items_replaced AFTER UPDATE OF value ON items BEGIN
           UPDATE totals SET bytes = bytes + length(new.value) - length(old.value); END""",
    """CREATE TRIGGER items_deleted AFTER DELETE ON items BEGIN
           UPDATE totals SET items = items - 1, bytes = bytes - length(old.value); END""",
)
# Files of arrays that no item refers to any more are noted in the transaction that let them go, and removed after it.
ARRAY_FILES: Final = (
    "CREATE TABLE gone_files (name BLOB NOT NULL)",
    f"CREATE INDEX items_by_file ON items ({SQL_NAME.format('value')}) WHERE {SQL_IS_REFERENCE.format('value')}",
    "DROP TRIGGER items_inserted",
    "DROP TRIGGER items_replaced",
    "DROP TRIGGER items_deleted",
    f"""CREATE TRIGGER items_inserted AFTER INSERT ON items BEGIN
           UPDATE totals SET items = items + 1, bytes = bytes + {SQL_BYTES.format("new.value")}; END""",
    # Not where the size stays, which saves a page of each such write.
    f"""CREATE TRIGGER items_replaced AFTER UPDATE OF value ON items
           WHEN {SQL_BYTES.format("new.value")} != {SQL_BYTES.format("old.value")} BEGIN
           UPDATE totals SET bytes = bytes + {SQL_BYTES.format("new.value")} - {SQL_BYTES.format("old.value")}; END""",
    f"""CREATE TRIGGER items_deleted AFTER DELETE ON items BEGIN
           UPDATE totals SET items = items - 1, bytes = bytes - {SQL_BYTES.format("old.value")}; END""",
    f"""CREATE TRIGGER file_replaced AFTER UPDATE OF value ON items WHEN {SQL_IS_REFERENCE.format("old.value")} BEGIN
           INSERT INTO gone_files VALUES ({SQL_NAME.format("old.value")}); END""",
    f"""CREATE TRIGGER file_deleted AFTER DELETE ON items WHEN {SQL_IS_REFERENCE.format("old.value")} BEGIN
           INSERT INTO gone_files VALUES ({SQL_NAME.format("old.value")}); END""",
)
SIZES_BY_USE: Final = f"SELECT rowid, {SQL_BYTES.format('value')} FROM items ORDER BY used"
REFERENCES: Final = f"SELECT value FROM items WHERE {SQL_IS_REFERENCE.format('value')}"
REFERS: Final = f"SELECT 1 FROM items WHERE {SQL_IS_REFERENCE.format('value')} AND {SQL_NAME.format('value')} = ?"
CHECKED_ITEMS: Final = CheckedTable("items", ("owner", "item_id", "value", "expires_at"), ("used",))
ITEM_SCHEMA: Final = store_schema(
    ITEMS_1,
    (),
    CHECKED_ITEMS.migration(),
    (),
    ARRAY_FILES,
    checked=(CHECKED_ITEMS,),
    counters=("evictions", "expirations"),
)

# --- Misses

MISSES_1: Final = (
    """CREATE TABLE misses (
           item_id TEXT PRIMARY KEY, misses INTEGER NOT NULL, overcount INTEGER NOT NULL)""",
    "CREATE INDEX misses_by_count ON misses (misses)",
    """CREATE TABLE totals (
           only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
           items INTEGER NOT NULL, misses INTEGER NOT NULL, evictions INTEGER NOT NULL,
           highest_dropped INTEGER NOT NULL)""",
    "INSERT INTO totals VALUES (1, 0, 0, 0, 0)",
)
# What is most missed, in the order in which it is told: of many that were missed as often none need be sorted.
MISSES_IN_ORDER: Final = (
    "DROP INDEX misses_by_count",
    "CREATE INDEX misses_by_count ON misses (misses DESC, item_id)",
)
CHECKED_MISSES: Final = CheckedTable("misses", ("item_id", "misses", "overcount"))
MISS_SCHEMA: Final = store_schema(
    MISSES_1,
    (),
    CHECKED_MISSES.migration(),
    (),
    MISSES_IN_ORDER,
    checked=(CHECKED_MISSES,),
    counters=("misses", "evictions", "highest_dropped"),
    recount=("UPDATE totals SET items = (SELECT count(*) FROM misses)",),
)
