"""Notices a damaged file, and copies what is left of it into a new one."""

import io
import logging
import os
import shutil
import sqlite3
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, Final

from seedcore.errors import StoreDamagedError
from seedcore.store.files import checksums, store_files
from seedcore.store.files.checksums import checksum
from seedcore.store.files.connection import MEMORY, open_connection
from seedcore.store.files.schema import Schema, version_of
from seedcore.store.recovery.index_check import find_damage, is_checked_at_once, noted_damage
from seedcore.store.recovery.log import LogContent, cut_leftovers, read_log

logger = logging.getLogger(__name__)

HEADER_BYTES: Final = 100
PAGE_BYTES: Final = 4096  # SQLite's default, which no store changes
MAX_PAGES_TOLD: Final = 2**24  # 64 GiB; a header that tells of more is damaged itself
# What the first bytes of a file are that is not in WAL mode: https://www.sqlite.org/fileformat2.html#the_database_header
FIXED_HEADER: Final = b"SQLite format 3\0" + PAGE_BYTES.to_bytes(2, "big") + bytes((1, 1, 0, 64, 32, 32))
MAX_PROBES: Final = 20_000  # queries into unreadable ranges of one table; about a second
MAX_ROWID: Final = 2**63 - 1
MAX_UNCHECKED: Final = 2**53  # a whole number above it was not written by us


@dataclass(frozen=True)
class Salvage:
    """What was saved.

    Args:
        set_aside: where the damaged file is now.
        salvaged: rows in the new file.
        lost: rows that are known to be missing; None when the old file does not say how many it had.
    """

    set_aside: str
    salvaged: int
    lost: int | None


def require_content(path: Path, had_content: bool) -> None:
    """Before SQLite opens the file, which would take an empty one for new and delete its write-ahead log.

    Raises:
        StoreDamagedError: it is empty, and was not before.
    """
    size, wal_size = store_files.size_of(path), store_files.size_of(store_files.companion(path, store_files.LOG))
    if size <= 0 and wal_size > 0:
        raise StoreDamagedError(f"{path} is {'missing' if size < 0 else 'empty'}, but its write-ahead log is there")
    if size == 0 and had_content:
        raise StoreDamagedError(f"{path} is empty, and was not before")


def inspect(connection: sqlite3.Connection, path: Path, schema: Schema) -> None:
    """Look through the file and its log, inside a write transaction, so that nobody else writes; then cut off of the
    log what was never acknowledged. What of a large file is left to look at is for an `IndexCheck`.

    Raises:
        StoreDamagedError: saying what is wrong.
        sqlite3.DatabaseError: `checksums.is_damage` is true of it.
    """
    content = read_log(store_files.companion(path, store_files.LOG))
    if content.damage:
        raise StoreDamagedError(f"the write-ahead log of {path} is damaged: {content.damage}")
    inspect_tables(connection, path, schema, is_whole=is_checked_at_once(path))
    cut_leftovers(store_files.companion(path, store_files.LOG), content)


def trim_log(path: Path) -> None:
    """Cut the leftovers off once more, after the first commit: with readers alive SQLite may know less of the log than
    is there.
    """
    log = store_files.companion(path, store_files.LOG)
    cut_leftovers(log, read_log(log))


def inspect_tables(connection: sqlite3.Connection, path: Path, schema: Schema, is_whole: bool) -> None:
    """Look through what SQLite sees of the file, compared with its indexes or not; raises as `inspect`."""
    damage = noted_damage(path) or find_damage(connection, is_whole)
    if damage is not None:
        raise StoreDamagedError(f"{path} is damaged: {damage}")
    version = version_of(connection)
    if not schema.has_tables_of(connection, version):
        raise StoreDamagedError(f"{path} is damaged: its tables are not those of schema version {version}")


def open_unwritable(path: Path, schema: Schema) -> sqlite3.Connection | None:
    """A connection that reads a store which cannot be written now; None if it cannot be read either."""
    if store_files.size_of(path) <= 0:
        return None
    log = store_files.companion(path, store_files.LOG)
    # Without a log SQLite cannot make one here, and need not.
    ways = [partial(open_connection, path, "ro"), partial(_open_copy, path)]
    if store_files.size_of(log) <= 0:
        ways.insert(1, partial(open_connection, path, "ro", immutable=True))
    for way in ways:
        with suppress(sqlite3.Error, OSError, StoreDamagedError), ExitStack() as opened:
            connection = opened.enter_context(closing(way()))
            if version_of(connection) != schema.version:
                return None  # it would have to be migrated
            if read_log(log).damage:
                return None
            inspect_tables(connection, path, schema, is_whole=is_checked_at_once(path))
            opened.pop_all()
            return connection
    return None


def _open_copy(path: Path) -> sqlite3.Connection:
    """What a killed process left cannot be read in place without writing."""
    copy = io.BytesIO()
    write_readable_copy(path, read_log(store_files.companion(path, store_files.LOG)), copy)
    connection = open_connection(MEMORY)
    connection.deserialize(copy.getbuffer())
    return connection


def salvage(path: Path, schema: Schema, reason: str) -> Salvage:
    """Set the file aside and put a new one with what can be saved in its place, under `store_files.locked`.

    The caller keeps its connection open, in a write transaction if it could begin one: then no old writer commits what
    would be lost, and SQLite does not delete the log.
    """
    aside = f"damaged-{store_files.utc_now()}"
    log = read_log(store_files.companion(path, store_files.LOG))
    source = store_files.companion(path, ".salvaging")
    with source.open("w+b") as copy:
        write_readable_copy(path, log, copy)
    building = store_files.building_path(path)
    with closing(_open(source)) as old, closing(_open(building)) as new:
        new.execute("PRAGMA synchronous = OFF")  # the whole file is synced at its end
        new.execute("BEGIN")
        schema.migrate(new)
        salvaged = 0
        lost: int | None = 0
        for table in schema.checked:
            saved, known = _copy_table(old, new, table)
            salvaged += saved
            # What a damaged log had held nobody knows.
            lost = None if known is None or lost is None or log.damage else lost + max(0, known - saved)
        _copy_rest(old, new, schema)
        outcome = Salvage(str(store_files.companion(path, f".{aside}")), salvaged, lost)
        new.execute("INSERT INTO salvages VALUES (?, ?, ?)", (outcome.set_aside, salvaged, lost))
        new.execute("COMMIT")
        store_files.replace(path, building, aside)
    source.unlink()
    logger.critical(
        "%s. It was set aside as %s; %d rows were salvaged into a new %s, %s lost. "
        "If that is not enough, `make restore` brings a backup back",
        reason,
        outcome.set_aside,
        salvaged,
        path.name,
        "an unknown number is" if lost is None else f"{lost} are",
    )
    return outcome


def _open(path: Path) -> sqlite3.Connection:
    connection = open_connection(path)
    # Text of damaged rows need not be Unicode.
    connection.text_factory = lambda data: data.decode(errors="replace")
    return connection


def write_readable_copy(path: Path, log: LogContent, copy: BinaryIO) -> None:
    """Copy the store into one file with the whole transactions of the log in it, and a header that SQLite accepts.

    Of a file that was emptied the log alone gives the whole store, if it was never emptied itself.
    """
    with suppress(FileNotFoundError), path.open("rb") as file:
        shutil.copyfileobj(file, copy)
    if log.pages:
        with store_files.companion(path, store_files.LOG).open("rb") as file:
            for page, start in log.pages.items():
                file.seek(start)
                copy.seek((page - 1) * log.page_size)
                copy.write(file.read(log.page_size))
    size = copy.seek(0, os.SEEK_END)
    if size == 0:
        return
    copy.seek(0)
    header = bytearray(copy.read(HEADER_BYTES).ljust(HEADER_BYTES, b"\0"))
    told_pages = int.from_bytes(header[28:32], "big")
    pages = max(-(-size // PAGE_BYTES), told_pages if told_pages < MAX_PAGES_TOLD else 0)
    header[:24] = FIXED_HEADER
    header[28:32] = pages.to_bytes(4, "big")
    header[44:48] = (4).to_bytes(4, "big")  # schema format
    header[56:60] = (1).to_bytes(4, "big")  # UTF-8
    header[92:96] = header[24:28]  # or the page count would not be believed
    copy.seek(0)
    copy.write(header)
    missing = pages * PAGE_BYTES - size  # what was cut off is empty
    if missing > 0:
        copy.seek(pages * PAGE_BYTES - 1)
        copy.write(b"\0")


def _copy_table(
    old: sqlite3.Connection, new: sqlite3.Connection, table: checksums.CheckedTable
) -> tuple[int, int | None]:
    """Copy what is right; how many rows that are, and how many there were if the old file says so."""
    columns = [*table.checked, *table.unchecked]
    # A file from before checksums has none; its rows cannot be checked, and are better than nothing.
    has_checksums = _can(old, f"SELECT {checksums.COLUMN} FROM {table.name} LIMIT 0")
    marks = ", ".join("?" * (len(columns) + 1))
    insert = (
        f"INSERT INTO {table.name} ({', '.join(columns)}, {checksums.COLUMN}) VALUES ({marks}) ON CONFLICT DO NOTHING"
    )
    rows = _Rows(old, table.name, [*columns, checksums.COLUMN] if has_checksums else columns)
    for row in rows:
        values = row[: len(columns)]
        checked, unchecked = values[: len(table.checked)], values[len(table.checked) :]
        right = checksum(*checked)
        if has_checksums and row[-1] != right:
            continue
        with suppress(sqlite3.IntegrityError):  # a NULL where there may be none
            new.execute(insert, (*checked, *(one if _is_plausible(one) else None for one in unchecked), right))
    saved = int(new.execute(f"SELECT count(*) FROM {table.name}").fetchone()[0])
    known = [total for (total,) in _all_or_nothing(old, "SELECT items FROM totals") if _is_plausible(total)]
    if rows.in_index is not None:
        known.append(rows.in_index)
    return saved, max(known, default=None)


class _Rows:
    """Every row of a damaged table that can be read, once."""

    def __init__(self, connection: sqlite3.Connection, table: str, columns: list[str]) -> None:
        self._connection = connection
        self._table = table
        self._select = f"SELECT rowid, {', '.join(columns)} FROM {table} WHERE rowid BETWEEN ? AND ? ORDER BY rowid"
        self.in_index: int | None = None

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        seen: set[int] = set()
        for row_id, *values in self._by_row_id():
            if row_id not in seen:
                seen.add(row_id)
                yield tuple(values)
        for row_id in self._in_index() - seen:
            with suppress(sqlite3.Error):
                for _, *values in self._connection.execute(self._select, (row_id, row_id)):
                    yield tuple(values)

    def _by_row_id(self) -> Iterator[tuple[Any, ...]]:
        """Walk each range from both ends, then the halves of what is between; the large ranges come first."""
        ranges = deque([(1, MAX_ROWID)])
        for _ in range(MAX_PROBES):
            if not ranges:
                return
            low, high = ranges.popleft()
            for direction in ("ASC", "DESC"):
                try:
                    for row in self._connection.execute(f"{self._select} {direction}", (low, high)):
                        if not low <= row[0] <= high:
                            break  # the order is damaged
                        if direction == "ASC":
                            low = row[0] + 1
                        else:
                            high = row[0] - 1
                        yield row
                    else:
                        break  # the whole range was read
                except (sqlite3.Error, OverflowError):
                    continue
            else:
                if low < high:
                    middle = (low + high) // 2
                    ranges += [(low, middle), (middle + 1, high)]

    def _in_index(self) -> set[int]:
        """The row ids that the table's unique index still knows."""
        found: set[int] = set()
        index = f"sqlite_autoindex_{self._table}_1"
        key = ", ".join(row[2] for row in _all_or_nothing(self._connection, f"PRAGMA index_info({index})"))
        for direction in ("ASC", "DESC"):
            order = ", ".join(f"{column} {direction}" for column in key.split(", "))
            try:
                query = f"SELECT rowid FROM {self._table} INDEXED BY {index} ORDER BY {order}"
                found.update(row[0] for row in self._connection.execute(query))
            except sqlite3.Error:
                continue
            self.in_index = len(found)  # read to its end
            break
        return found


def _copy_rest(old: sqlite3.Connection, new: sqlite3.Connection, schema: Schema) -> None:
    new.execute("INSERT INTO writer (only_row, epoch) VALUES (1, 0)")
    carry_over(old, new)
    _copy_whole_table(old, new, "salvages")
    for column in schema.counters:
        number = _one_number(old, f"SELECT {column} FROM totals")
        new.execute(f"UPDATE totals SET {column} = ?", number)
    for statement in schema.recount:
        new.execute(statement)


def carry_over(old: sqlite3.Connection, new: sqlite3.Connection) -> None:
    """What must not go back when another file takes a store's place: the epoch, and the requests that were done."""
    new.execute("UPDATE writer SET epoch = max(epoch, ?)", _one_number(old, "SELECT epoch FROM writer"))
    for table in ("clients", "requests"):
        _copy_whole_table(old, new, table)


def _copy_whole_table(old: sqlite3.Connection, new: sqlite3.Connection, table: str) -> None:
    """Copy a table that has no checksums, as a whole or not at all."""
    rows = _all_or_nothing(old, f"SELECT * FROM {table}")
    if not rows:
        return
    new.execute("SAVEPOINT whole_table")
    try:
        new.execute(f"DELETE FROM {table}")
        new.executemany(f"INSERT INTO {table} VALUES ({', '.join('?' * len(rows[0]))})", rows)
    except sqlite3.Error:
        new.execute("ROLLBACK TO whole_table")
    new.execute("RELEASE whole_table")


def _one_number(connection: sqlite3.Connection, query: str) -> tuple[int]:
    rows = _all_or_nothing(connection, query)
    return (rows[0][0],) if rows and _is_plausible(rows[0][0]) else (0,)


def _all_or_nothing(connection: sqlite3.Connection, query: str) -> list[tuple[Any, ...]]:
    try:
        return connection.execute(query).fetchall()
    except sqlite3.Error:
        return []


def _is_plausible(number: object) -> bool:
    return isinstance(number, int) and 0 <= number <= MAX_UNCHECKED


def _can(connection: sqlite3.Connection, query: str) -> bool:
    try:
        connection.execute(query).fetchall()
    except sqlite3.Error:
        return False
    return True
