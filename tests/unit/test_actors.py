"""The actors' classes, which are plain classes, in this process."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seedcore.actors.calls import Call, pack_calls, unpack_answers
from seedcore.actors.miss_tracker import MissTracker
from seedcore.actors.mw_store import MwStore
from seedcore.actors.packed_values import pack_new
from seedcore.actors.shared_cache import SharedCache
from seedcore.cluster.singletons import THREADS
from seedcore.errors import (
    ActorFailedError,
    InvalidKeyError,
    InvalidTtlError,
    InvalidValueError,
    RequestAbandonedError,
    StoreUnavailableError,
    ValueTooLargeError,
)
from seedcore.settings import PROJECT_ROOT
from seedcore.store.codec import encode_aside
from seedcore.store.files import array_files
from seedcore.store.sqlite.miss_store import HotItem
from seedcore.store.sqlite.request_log import RequestId
from tests.unit.conftest import SetKnobs
from tests.waiting import wait_until

DEADLINE_S = 60


@pytest.fixture(autouse=True)
def state_dir(knobs: SetKnobs, tmp_path: Path) -> Path:
    knobs(
        STATE_DIR=str(tmp_path),
        KEY_MAX_LENGTH="8",
        VALUE_MAX_BYTES="2000",
        SHARED_CACHE_MAX_ITEMS="2",
        SHARED_CACHE_MAX_BYTES="1500",
        MISS_TRACKER_MAX_ITEMS="2",
        LOG_LEVEL="ERROR",
    )
    return tmp_path


def test_organs_have_items_of_their_own() -> None:
    store = MwStore("ns/mw.sqlite3")
    store.set_many("one", {"a": b"1", "b": b"2"})
    store.set_many("two", {"a": b"3"})
    assert store.get_many("one", ["b", "a", "c"]) == {"a": b"1", "b": b"2"}
    assert store.delete_many("one", ["a", "c"]) == ["a"]
    assert store.get_many("one", ["a", "b"]) == {"b": b"2"}
    assert store.get_many("two", ["a"]) == {"a": b"3"}


def test_what_an_actor_has_answered_its_successor_knows() -> None:
    MwStore("mw.sqlite3").set_many("one", {"a": b"1"})
    SharedCache("shared.sqlite3").set_many({"a": b"2"})
    MissTracker("misses.sqlite3").record(["a", "a", "b"])
    assert MwStore("mw.sqlite3").get_many("one", ["a"]) == {"a": b"1"}
    assert SharedCache("shared.sqlite3").get_many(["a"]) == {"a": b"2"}
    assert MissTracker("misses.sqlite3").top(5) == [HotItem("a", 2, 0), HotItem("b", 1, 0)]


def test_the_cache_drops_the_least_recently_used() -> None:
    cache = SharedCache("shared.sqlite3")
    cache.set_many({"a": b"1", "b": b"2"})
    cache.get_many(["a"])
    cache.set_many({"c": b"3"})
    assert cache.get_many(["a", "b", "c"]) == {"a": b"1", "c": b"3"}
    assert (cache.stats())["evictions"] == 1


def test_statistics_count_items_hits_and_misses() -> None:
    store = MwStore("mw.sqlite3")
    store.set_many("one", {"a": b"123", "b": b""})
    store.get_many("one", ["a", "b", "c", "c"])
    stats = store.stats()
    assert (stats["items"], stats["bytes"], stats["hits"], stats["misses"]) == (2, 3, 2, 1)
    tracker = MissTracker("misses.sqlite3")
    tracker.record(["a", "b", "c"])
    stats = tracker.stats()
    assert (stats["items"], stats["misses"], stats["evictions"]) == (2, 3, 1)


def test_an_item_expires_and_is_counted() -> None:
    store = MwStore("mw.sqlite3")
    store.set_many("one", {"short": b"1"}, ttl_s=1e-9)
    store.set_many("one", {"long": b"2"}, ttl_s=3600)
    assert store.get_many("one", ["short", "long"]) == {"long": b"2"}
    stats = store.stats()
    assert (stats["items"], stats["expirations"]) == (1, 1)


@pytest.mark.parametrize(
    ("organ_id", "items", "ttl_s", "error"),
    [
        ("", {"a": b"1"}, None, InvalidKeyError),
        (5, {"a": b"1"}, None, InvalidKeyError),
        ("one", {"a": b"1", "": b"2"}, None, InvalidKeyError),
        ("one", {"a": b"1", "too long a key": b"2"}, None, InvalidKeyError),
        ("one", {"a": b"1"}, 0, InvalidTtlError),
        ("one", {"a": b"1", "large": bytes(2001)}, None, ValueTooLargeError),
    ],
)
def test_a_bad_write_keeps_nothing_and_the_good_ones_beside_it_are_kept(
    organ_id: Any, items: dict[str, bytes], ttl_s: float | None, error: type[Exception]
) -> None:
    store = MwStore("mw.sqlite3")
    calls = [
        Call("set_many", ("one", {"good": b"kept"}), RequestId(b"client", 1, 1)),
        Call("set_many", (organ_id, items, ttl_s), RequestId(b"client", 2, 1)),
    ]
    good, bad = unpack_answers(store.perform(pack_calls(calls)))
    assert good.error is None
    assert isinstance(bad.error, error)
    assert store.get_many("one", ["good", "a", "large"]) == {"good": b"kept"}


def test_a_value_larger_than_the_whole_cache_is_refused_and_evicts_nothing() -> None:
    cache = SharedCache("shared.sqlite3")
    cache.set_many({"a": b"1"})
    with pytest.raises(ValueTooLargeError, match="SHARED_CACHE_MAX_BYTES allows 1500"):
        cache.set_many({"b": bytes(1501)})
    assert cache.get_many(["a", "b"]) == {"a": b"1"}


@pytest.mark.parametrize("number", [-1, 1.5, "5", None, True])
def test_a_number_of_hot_items_that_is_none_is_refused(number: Any) -> None:
    with pytest.raises(InvalidValueError, match="hot items"):
        MissTracker("misses.sqlite3").top(number)


def test_many_writes_at_once_share_transactions_and_are_all_kept() -> None:
    store = MwStore("mw.sqlite3")
    before = store.stats()["transactions"]
    with ThreadPoolExecutor(THREADS) as threads, store._writes._turn:  # so that all come while another one commits
        written = [threads.submit(store.set_many, "one", {str(number): b"1"}) for number in range(THREADS)]
        wait_until(lambda: len(store._writes._waiting) == THREADS)
    for one in written:
        one.result()
    assert len(store.get_many("one", [str(number) for number in range(THREADS)])) == THREADS
    assert store.stats()["transactions"] - before <= 2  # theirs, and one that looks for what has expired


def test_an_actor_whose_store_cannot_be_opened_is_not_born(state_dir: Path) -> None:
    (state_dir / "mw.sqlite3").mkdir()
    with pytest.raises(StoreUnavailableError, match=str(state_dir / "mw.sqlite3")):
        MwStore("mw.sqlite3")


def test_a_fenced_actor_ends_its_process_instead_of_answering(state_dir: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.unit.fenced_actor"],
        cwd=PROJECT_ROOT,
        env={**os.environ, "STATE_DIR": str(state_dir)},
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert done.returncode == 1
    assert done.stdout.split() == ["fenced"]
    assert str(state_dir / "mw.sqlite3") in done.stderr
    kept = MwStore("mw.sqlite3").get_many("agent", ["before", "after", "late"])
    assert kept == {"before": b"1", "after": b"2"}


def test_a_repeated_write_is_done_once_also_by_the_successor() -> None:
    def request(number: int) -> RequestId:
        return RequestId(b"client", number, 1)

    for _ in range(3):  # each in the place of the one before
        store, tracker = MwStore("mw.sqlite3"), MissTracker("misses.sqlite3")
        cache = SharedCache("shared.sqlite3")
        store.set_many("one", {"a": b"1"}, None, request(1))
        assert store.delete_many("one", ["a", "b"], request(2)) == ["a"]
        cache.set_many({"a": b"1"}, request=request(1))
        assert cache.delete_many(["a", "b"], request(2)) == ["a"]
        tracker.record(["a"], request(1))
    assert tracker.top(5) == [HotItem("a", 1, 0)]
    assert store.get_many("one", ["a"]) == {}


def test_calls_that_travel_together_have_an_answer_each(state_dir: Path) -> None:
    actor = MwStore("mw.sqlite3")
    large = encode_aside(np.zeros(50_000), array_files.MIN_BYTES)

    def request(number: int) -> RequestId:
        return RequestId(b"client", number, 1)

    calls = [
        Call("set_many", ("one", {"a": b"1"}, None), request(1)),
        Call("set_many", ("one", {"too long a key": b"2"}, None), request(2)),
        Call("get_many", ("two", ["a"])),
        Call("set_many", ("one", {"b": b"3"}, 60), request(3)),
        Call("set_many", ("one", {"b": b"never"}), request(3)),  # a repetition
        Call("set_many", ("one", {"array": pack_new(*large)}, None), request(4)),
        Call("set_many", ("one", {"large": b"x" * 2001}, None), request(5)),
        Call("delete_many", ("one", ["a", "c"]), request(6)),
        Call("no_such_method", ()),
        Call("set_many", ("one", 7, None), request(7)),
    ]
    answers = unpack_answers(actor.perform(pack_calls(calls)))
    errors = [type(answer.error) for answer in answers]
    refused = InvalidKeyError, ValueTooLargeError, ValueTooLargeError, ActorFailedError, ActorFailedError
    assert [errors[1], errors[5], errors[6], errors[8], errors[9]] == [*refused]
    assert [answers[position].error for position in (0, 2, 3, 4, 7)] == [None] * 5
    assert answers[2].result == {}
    assert answers[7].result == ["a"]
    assert actor.get_many("one", ["a", "b", "array", "large"]) == {"b": b"3"}
    assert (actor.stats())["transactions"] <= 2  # the one of all writes, and that of the statistics


def test_a_write_that_fails_takes_none_of_those_that_travelled_with_it(state_dir: Path) -> None:
    tracker = MissTracker("misses.sqlite3")
    tracker.record(["a"], RequestId(b"client", 2, 2))
    calls = [
        Call("record", (["a"],), RequestId(b"other", 1, 1)),
        Call("record", (["a"],), RequestId(b"client", 1, 1)),  # given up by its client, as its next request told
        Call("record", (["b"],), RequestId(b"other", 2, 1)),
    ]
    first, second, third = unpack_answers(tracker.perform(pack_calls(calls)))
    assert [first.error, third.error] == [None, None]
    assert isinstance(second.error, RequestAbandonedError)
    assert tracker.top(5) == [HotItem("a", 2, 0), HotItem("b", 1, 0)]
