import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seedcore.settings import Synchronous
from seedcore.store.engine import HotItem
from seedcore.store.sqlite.miss_store import MissStore
from seedcore.store.sqlite.store_reader import StoreReader

ALL = 1000  # more than any test counts

batches = st.lists(
    st.dictionaries(st.sampled_from(["a", "b", "c", "d", "e", "ä", "a\x00", ""]), st.integers(1, 9), max_size=4),
    max_size=12,
)


@contextmanager
def opened(path: Path, max_items: int) -> Iterator[MissStore]:
    store = MissStore(path, Synchronous.NORMAL, max_items)
    try:
        yield store
    finally:
        store.database.close()


def record(store: MissStore, batches: Iterable[Mapping[str, int]]) -> None:
    for batch in batches:
        with store.database.transaction() as connection:
            store.record(connection, batch)


def exact_counts(batches: Iterable[Mapping[str, int]]) -> Counter[str]:
    exact: Counter[str] = Counter()
    for batch in batches:
        exact.update(batch)
    return exact


def assert_counts_are_in_bounds(hot: list[HotItem], exact: Counter[str]) -> None:
    """The promise of `HotItem`."""
    for item in hot:
        assert exact[item.item_id] <= item.misses <= exact[item.item_id] + item.overcount


@given(before=batches, after=batches, max_items=st.integers(1, 6))
def test_counts_stay_within_their_bounds_over_a_restart(
    before: list[dict[str, int]], after: list[dict[str, int]], max_items: int
) -> None:
    exact = exact_counts(before + after)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "misses.sqlite3"
        with opened(path, max_items) as store:
            record(store, before)
        with opened(path, max_items) as store:
            record(store, after)
            hot, stats = store.top(ALL), store.stats()
    assert_counts_are_in_bounds(hot, exact)
    assert hot == sorted(hot, key=lambda item: (-item.misses, item.item_id.encode()))
    assert len({item.item_id for item in hot}) == len(hot) == min(len(exact), max_items) == stats["items"]
    assert stats["misses"] == exact.total()
    assert {item_id for item_id, misses in exact.items() if misses > exact.total() / max_items} <= {
        item.item_id for item in hot
    }
    assert all(item.overcount <= exact.total() / max_items for item in hot)
    if len(exact) <= max_items:
        assert stats["evictions"] == 0
        assert {item.item_id: item.misses for item in hot} == exact


def test_the_most_missed_come_first_and_ties_by_id(tmp_path: Path) -> None:
    with opened(tmp_path / "misses.sqlite3", 10) as store:
        record(store, [{"b": 2, "a": 2, "c": 7, "d": 1}])
        assert store.top(3) == [HotItem("c", 7, 0), HotItem("a", 2, 0), HotItem("b", 2, 0)]
        assert store.top(0) == []
        assert store.database.identity is not None
        reader = StoreReader(store.database.path, store.database.identity)
        assert reader.top(3) == store.top(3)
        record(store, [{"d": 9}])
        assert reader.top(1) == [HotItem("d", 10, 0)]


@pytest.mark.parametrize("smaller", [1, 2, 3])
def test_a_smaller_bound_holds_from_the_next_new_item_on(tmp_path: Path, smaller: int) -> None:
    exact = Counter({"a": 9, "b": 5, "c": 3, "d": 1})
    with opened(tmp_path / "misses.sqlite3", 4) as store:
        record(store, [exact])
    with opened(tmp_path / "misses.sqlite3", smaller) as store:
        for item_id in ("new", "c", "b", "a", "d"):
            record(store, [{item_id: 1}])
            exact[item_id] += 1
            hot = store.top(ALL)
            assert len(hot) == smaller == store.stats()["items"]
            assert_counts_are_in_bounds(hot, exact)


def test_a_larger_bound_makes_no_count_too_low(tmp_path: Path) -> None:
    misses = [{"often": 5}, {"seldom": 1}]  # the second takes over the only counter
    with opened(tmp_path / "misses.sqlite3", 1) as store:
        record(store, misses)
    with opened(tmp_path / "misses.sqlite3", 2) as store:
        record(store, [{"often": 1}])
        assert_counts_are_in_bounds(store.top(ALL), exact_counts([*misses, {"often": 1}]))


def test_a_failed_transaction_counts_nothing(tmp_path: Path) -> None:
    with opened(tmp_path / "misses.sqlite3", 1) as store:
        record(store, [{"a": 1}])
        before = store.top(ALL), store.stats()

        def fail() -> None:
            with store.database.transaction() as connection:
                store.record(connection, {"a": 1, "b": 1})
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            fail()
        assert (store.top(ALL), store.stats()) == before
