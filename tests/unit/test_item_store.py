import itertools
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from seedcore.settings import Synchronous
from seedcore.store.sqlite import item_store
from seedcore.store.sqlite.item_store import MAX_UNSAVED_USES, Bounds, ItemStore
from seedcore.store.sqlite.store_reader import StoreReader

OWNERS = ("", "organ")
ITEM_IDS = ("a", "b", "c", "a\x00", "ä")
DURATIONS = (0.5, 1.0, 2.5, 10.0)

owners = st.sampled_from(OWNERS)
item_ids = st.sampled_from(ITEM_IDS)
items = st.dictionaries(item_ids, st.binary(max_size=12), max_size=4)
durations = st.sampled_from(DURATIONS)


class DeliberateError(Exception):
    pass


@dataclass
class Item:
    value: bytes
    expires_at: float | None
    used: int
    saved_use: int  # as a restart finds it


class Model:
    """What an item store should be: a dict, the order of use, and a clock."""

    def __init__(self, bounds: Bounds | None) -> None:
        self.bounds = bounds
        self.now = 1000.0
        self.items: dict[tuple[str, str], Item] = {}
        self.evictions = 0
        self.expirations = 0
        self._uses = itertools.count()

    def get_many(self, owner: str, ids: list[str]) -> dict[str, bytes]:
        found = {}
        for item_id in ids:
            item = self.items.get((owner, item_id))
            if item and (item.expires_at is None or item.expires_at > self.now):
                found[item_id] = item.value
                item.used = next(self._uses)
        return found

    def set_many(self, owner: str, new: dict[str, bytes], ttl_s: float | None) -> None:
        self.delete_expired()
        for item_id, value in new.items():
            use = next(self._uses)
            self.items[owner, item_id] = Item(value, None if ttl_s is None else self.now + ttl_s, use, use)
        if self._exceeds_bounds():
            self.save_uses()
        while self._exceeds_bounds():
            del self.items[min(self.items, key=lambda key: self.items[key].used)]
            self.evictions += 1

    def delete_many(self, owner: str, ids: list[str]) -> list[str]:
        self.delete_expired()
        return [item_id for item_id in dict.fromkeys(ids) if self.items.pop((owner, item_id), None)]

    def delete_expired(self) -> None:
        expired = [
            key for key, item in self.items.items() if item.expires_at is not None and item.expires_at <= self.now
        ]
        for key in expired:
            del self.items[key]
        self.expirations += len(expired)

    def save_uses(self) -> None:
        for item in self.items.values():
            item.saved_use = item.used

    def restart(self) -> None:
        for item in self.items.values():
            item.used = item.saved_use

    def stats(self) -> dict[str, int]:
        return {
            "items": len(self.items),
            "bytes": self._size(),
            "evictions": self.evictions,
            "expirations": self.expirations,
        }

    def _size(self) -> int:
        return sum(len(item.value) for item in self.items.values())

    def _exceeds_bounds(self) -> bool:
        return self.bounds is not None and (
            len(self.items) > self.bounds.max_items or self._size() > self.bounds.max_bytes
        )


class Store(RuleBasedStateMachine):
    """Does the same to an item store and to the model."""

    def __init__(self, bounds: Bounds | None = None) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.bounds = bounds
        self.model = Model(bounds)
        self.store = self.open()

    def open(self) -> ItemStore:
        path = Path(self.folder.name) / "items.sqlite3"
        return ItemStore(path, Synchronous.NORMAL, self.bounds, lambda: self.model.now)

    def teardown(self) -> None:
        self.store.database.close()
        self.folder.cleanup()

    @rule(owner=owners, new=items, ttl_s=st.none() | durations)
    def set_many(self, owner: str, new: dict[str, bytes], ttl_s: float | None) -> None:
        with self.store.database.transaction() as connection:
            self.store.set_many(connection, owner, new, ttl_s)
        self.model.set_many(owner, new, ttl_s)

    @rule(owner=owners, ids=st.lists(item_ids, max_size=5, unique=True))
    def get_many(self, owner: str, ids: list[str]) -> None:
        assert self.store.get_many(owner, ids) == self.model.get_many(owner, ids)

    @rule(owner=owners, ids=st.lists(item_ids, max_size=5))
    def delete_many(self, owner: str, ids: list[str]) -> None:
        with self.store.database.transaction() as connection:
            deleted = self.store.delete_many(connection, owner, ids)
        assert deleted == self.model.delete_many(owner, ids)

    @rule(seconds=durations)
    def let_time_pass(self, seconds: float) -> None:
        self.model.now += seconds

    @rule()
    def delete_expired(self) -> None:
        with self.store.database.transaction() as connection:
            self.store.delete_expired(connection)
        self.model.delete_expired()

    @rule()
    def save_uses(self) -> None:
        with self.store.database.transaction() as connection:
            self.store.save_uses(connection)
        self.model.save_uses()

    @rule()
    def close_and_reopen(self) -> None:
        self.store.database.close()
        self.store = self.open()
        self.model.restart()

    @rule()
    def crash_and_reopen(self) -> None:
        dead = self.store  # never closed, as a killed process leaves it
        self.store = self.open()
        self.model.restart()
        dead.database.close()

    @invariant()
    def totals_are_the_models(self) -> None:
        assert self.store.stats() == self.model.stats()

    @invariant()
    def every_item_is_the_models(self) -> None:
        # Through SQL, since a get would be a use.
        with self.store.database.reading() as connection:
            rows = connection.execute("SELECT owner, item_id, value, expires_at FROM items").fetchall()
        kept = {(owner, item_id): (value, expires_at) for owner, item_id, value, expires_at in rows}
        assert kept == {key: (item.value, item.expires_at) for key, item in self.model.items.items()}


class UnboundedStore(Store):
    """Some of its transactions fail; nothing of them may be left."""

    @rule(owner=owners, new=items, ids=st.lists(item_ids))
    def fail_after_writes(self, owner: str, new: dict[str, bytes], ids: list[str]) -> None:
        def fail() -> None:
            with self.store.database.transaction() as connection:
                self.store.set_many(connection, owner, new, ttl_s=1.0)
                self.store.delete_many(connection, owner, ids)
                raise DeliberateError

        with pytest.raises(DeliberateError):
            fail()


class BoundedStore(Store):
    """Its bounds change now and then, as a user may change the knobs."""

    def __init__(self) -> None:
        super().__init__(bounds=Bounds(max_items=3, max_bytes=30))

    @rule(bounds=st.builds(Bounds, max_items=st.integers(1, 6), max_bytes=st.integers(1, 40)))
    def change_bounds(self, bounds: Bounds) -> None:
        self.bounds = self.model.bounds = bounds
        self.close_and_reopen()


MACHINE_SETTINGS = settings(max_examples=25, stateful_step_count=30)

TestUnboundedStore = UnboundedStore.TestCase
TestUnboundedStore.settings = MACHINE_SETTINGS
TestBoundedStore = BoundedStore.TestCase
TestBoundedStore.settings = MACHINE_SETTINGS


def put(store: ItemStore, *item_ids: str) -> None:
    with store.database.transaction() as connection:
        store.set_many(connection, "", dict.fromkeys(item_ids, b"value"), None)


@pytest.fixture
def store_of_two(tmp_path: Path) -> Iterator[ItemStore]:
    store = ItemStore(tmp_path / "items.sqlite3", Synchronous.NORMAL, Bounds(max_items=2, max_bytes=1000))
    yield store
    store.database.close()


def test_who_was_read_last_stays(store_of_two: ItemStore) -> None:
    put(store_of_two, "a", "b")
    store_of_two.get_many("", ["a"])
    put(store_of_two, "c")
    assert store_of_two.get_many("", ["a", "b", "c"]) == {"a": b"value", "c": b"value"}


def test_a_write_is_a_later_use_than_a_read_before_it(store_of_two: ItemStore) -> None:
    put(store_of_two, "a", "b")
    store_of_two.get_many("", ["a"])
    put(store_of_two, "b")
    put(store_of_two, "a")
    put(store_of_two, "c")
    assert store_of_two.get_many("", ["a", "b", "c"]) == {"a": b"value", "c": b"value"}


def test_an_item_is_gone_at_the_moment_that_its_time_ends(tmp_path: Path) -> None:
    now = 100.0
    store = ItemStore(tmp_path / "items.sqlite3", Synchronous.NORMAL, clock=lambda: now)
    with store.database.transaction() as connection:
        store.set_many(connection, "", {"item": b"value"}, ttl_s=5)
    now = 104.5
    assert store.get_many("", ["item"]) == {"item": b"value"}
    now = 105.0
    assert store.get_many("", ["item"]) == {}
    store.database.close()


def test_uses_are_due_for_saving_after_many_reads_and_decide_after_a_restart_who_goes(tmp_path: Path) -> None:
    bounds = Bounds(max_items=MAX_UNSAVED_USES, max_bytes=10**9)
    names = [f"item-{number}" for number in range(MAX_UNSAVED_USES)]
    store = ItemStore(tmp_path / "items.sqlite3", Synchronous.NORMAL, bounds)
    put(store, *names)
    store.get_many("", names[:-1])
    assert not store.has_unsaved_uses
    store.get_many("", names[-1:])
    assert store.has_unsaved_uses
    store.get_many("", names[:1])  # the oldest is the last used now
    with store.database.transaction() as connection:
        store.save_uses(connection)
    assert not store.has_unsaved_uses
    store.database.close()
    store = ItemStore(tmp_path / "items.sqlite3", Synchronous.NORMAL, bounds)
    put(store, "one more")
    assert list(store.get_many("", [names[0], names[1], "one more"])) == [names[0], "one more"]
    store.database.close()


def test_reads_of_an_unbounded_store_are_never_due_for_saving(tmp_path: Path) -> None:
    store = ItemStore(tmp_path / "items.sqlite3", Synchronous.NORMAL)
    names = [f"item-{number}" for number in range(MAX_UNSAVED_USES)]
    put(store, *names)
    assert len(store.get_many("", names)) == MAX_UNSAVED_USES
    assert not store.has_unsaved_uses
    store.database.close()


def test_two_owners_share_bounds_but_no_items(store_of_two: ItemStore) -> None:
    for owner in ("first", "second", "third"):
        with store_of_two.database.transaction() as connection:
            store_of_two.set_many(connection, owner, {"item": owner.encode()}, None)
    found = [store_of_two.get_many(owner, ["item"]) for owner in ("first", "second", "third")]
    assert found == [{}, {"item": b"second"}, {"item": b"third"}]


def test_a_failed_transaction_takes_no_recency_from_an_item_that_was_read(store_of_two: ItemStore) -> None:
    put(store_of_two, "a", "b")
    store_of_two.get_many("", ["a"])

    def fail(write: Callable[[sqlite3.Connection], object]) -> None:
        with store_of_two.database.transaction() as connection:
            write(connection)
            raise DeliberateError

    for write in (
        store_of_two.save_uses,
        lambda connection: store_of_two.set_many(connection, "", {"a": b"lost"}, None),
        lambda connection: store_of_two.set_many(connection, "", {"lost": b"lost"}, None),  # which evicts
    ):
        with pytest.raises(DeliberateError):
            fail(write)
    put(store_of_two, "c")
    assert store_of_two.get_many("", ["a", "b", "c"]) == {"a": b"value", "c": b"value"}


def test_a_read_while_uses_are_saved_is_saved_the_next_time(tmp_path: Path) -> None:
    bounds = Bounds(max_items=2, max_bytes=1000)
    store = ItemStore(tmp_path / "items.sqlite3", Synchronous.NORMAL, bounds)
    put(store, "a", "b")
    store.get_many("", ["b"])
    with store.database.transaction() as connection:
        store.save_uses(connection)
        store.get_many("", ["a"])
    with store.database.transaction() as connection:
        store.save_uses(connection)
    store.database.close()
    store = ItemStore(tmp_path / "items.sqlite3", Synchronous.NORMAL, bounds)
    put(store, "c")
    assert list(store.get_many("", ["a", "b", "c"])) == ["a", "c"]
    store.database.close()


def test_items_that_expired_in_a_transaction_that_failed_go_in_the_next(tmp_path: Path) -> None:
    now = 100.0
    store = ItemStore(tmp_path / "items.sqlite3", Synchronous.NORMAL, clock=lambda: now)
    with store.database.transaction() as connection:
        store.set_many(connection, "", {"brief": b"value"}, ttl_s=5)
        store.set_many(connection, "", {"long": b"value"}, ttl_s=10)
    now = 105.0
    with pytest.raises(DeliberateError):
        fail_after_deleting_the_expired(store)
    assert store.stats()["items"] == 2
    put(store, "kept")
    assert store.stats()["items"] == 2
    now = 110.0
    put(store, "kept")
    stats = store.stats()
    assert (stats["items"], stats["expirations"]) == (1, 2)
    store.database.close()


def fail_after_deleting_the_expired(store: ItemStore) -> None:
    with store.database.transaction() as connection:
        store.delete_expired(connection)
        raise DeliberateError


def test_items_whose_likely_rows_are_the_same_are_all_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(item_store, "likely_row_id", lambda owner, item_id: 7)
    store = ItemStore(tmp_path / "items.sqlite3", Synchronous.NORMAL)
    assert store.database.identity
    reader = StoreReader(store.database.path, store.database.identity)
    with store.database.transaction() as connection:
        store.set_many(connection, "organ", {"a": b"1", "b": b"2"}, None)
    with store.database.transaction() as connection:
        store.set_many(connection, "", {"a": b"3"}, None)
    with store.database.transaction() as connection:
        store.set_many(connection, "organ", {"b": b"4"}, None)
    assert [reader.get("organ", "a"), reader.get("organ", "b"), reader.get("", "a")] == [b"1", b"4", b"3"]
    with store.database.transaction() as connection:
        assert store.delete_many(connection, "organ", ["a"]) == ["a"]
    assert [reader.get("organ", "a"), reader.get("organ", "b"), reader.get("", "a")] == [None, b"4", b"3"]
    assert store.stats()["items"] == 2


def test_items_of_a_file_from_before_likely_rows_are_found(tmp_path: Path) -> None:
    store = ItemStore(tmp_path / "items.sqlite3", Synchronous.NORMAL)
    with store.database.transaction() as connection:
        store.set_many(connection, "organ", {"a": b"1", "b": b"2"}, None)
        connection.execute("UPDATE items SET rowid = 1 WHERE item_id = 'a'")
    assert store.database.identity
    reader = StoreReader(store.database.path, store.database.identity)
    assert [reader.get("organ", "a"), reader.get("organ", "b")] == [b"1", b"2"]
    with store.database.transaction() as connection:
        store.set_many(connection, "organ", {"a": b"3"}, None)
    assert reader.get("organ", "a") == b"3"
    assert store.stats()["items"] == 2
