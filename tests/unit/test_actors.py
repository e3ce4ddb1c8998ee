"""The actors' classes, which are plain classes, in this process."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from seedcore.actors.calls import Call, pack_calls, pack_new, unpack_answers
from seedcore.actors.miss_tracker import MissTracker
from seedcore.actors.mw_store import MwStore
from seedcore.actors.shared_cache import SharedCache
from seedcore.cluster.singletons import THREADS
from seedcore.errors import (
    ActorFailedError,
    RequestAbandonedError,
    StoreUnavailableError,
    ValueTooLargeError,
)
from seedcore.settings import PROJECT_ROOT
from seedcore.store.engine import HotItem
from seedcore.store.files import array_files
from seedcore.store.limits import EVERYBODY
from seedcore.store.requests import RequestId
from seedcore.store.values.codec import aside_encoder
from tests.unit.conftest import SetKnobs
from tests.unit.performing import do, keeper_of
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
    do(store, "set_many", "one", {"a": b"1", "b": b"2"})
    do(store, "set_many", "two", {"a": b"3"})
    assert do(store, "get_many", "one", ["b", "a", "c"]) == {"a": b"1", "b": b"2"}
    assert do(store, "delete_many", "one", ["a", "c"]) == ["a"]
    assert do(store, "get_many", "one", ["a", "b"]) == {"b": b"2"}
    assert do(store, "get_many", "two", ["a"]) == {"a": b"3"}


def test_what_an_actor_has_answered_its_successor_knows() -> None:
    do(MwStore("mw.sqlite3"), "set_many", "one", {"a": b"1"})
    do(SharedCache("shared.sqlite3"), "set_many", EVERYBODY, {"a": b"2"})
    do(MissTracker("misses.sqlite3"), "record", {"a": 2, "b": 1})
    assert do(MwStore("mw.sqlite3"), "get_many", "one", ["a"]) == {"a": b"1"}
    assert do(SharedCache("shared.sqlite3"), "get_many", EVERYBODY, ["a"]) == {"a": b"2"}
    assert do(MissTracker("misses.sqlite3"), "top", 5) == [HotItem("a", 2, 0), HotItem("b", 1, 0)]


def test_the_cache_drops_the_least_recently_used() -> None:
    cache = SharedCache("shared.sqlite3")
    do(cache, "set_many", EVERYBODY, {"a": b"1", "b": b"2"})
    do(cache, "get_many", EVERYBODY, ["a"])
    do(cache, "set_many", EVERYBODY, {"c": b"3"})
    assert do(cache, "get_many", EVERYBODY, ["a", "b", "c"]) == {"a": b"1", "c": b"3"}
    assert (cache.stats())["evictions"] == 1


def test_statistics_count_items_hits_and_misses() -> None:
    store = MwStore("mw.sqlite3")
    do(store, "set_many", "one", {"a": b"123", "b": b""})
    do(store, "get_many", "one", ["a", "b", "c"])
    stats = store.stats()
    assert (stats["items"], stats["bytes"], stats["hits"], stats["misses"]) == (2, 3, 2, 1)
    tracker = MissTracker("misses.sqlite3")
    do(tracker, "record", {"a": 1, "b": 1, "c": 1})
    stats = tracker.stats()
    assert (stats["items"], stats["misses"], stats["evictions"]) == (2, 3, 1)


def test_an_item_expires_and_is_counted() -> None:
    store = MwStore("mw.sqlite3")
    do(store, "set_many", "one", {"short": b"1"}, 1e-9)
    do(store, "set_many", "one", {"long": b"2"}, 3600)
    assert do(store, "get_many", "one", ["short", "long"]) == {"long": b"2"}
    stats = store.stats()
    assert (stats["items"], stats["expirations"]) == (1, 1)


def test_a_value_larger_than_the_whole_cache_is_refused_and_evicts_nothing() -> None:
    cache = SharedCache("shared.sqlite3")
    do(cache, "set_many", EVERYBODY, {"a": b"1"})
    # Of a process with another SHARED_CACHE_MAX_BYTES than the actor has.
    with pytest.raises(ValueTooLargeError, match="SHARED_CACHE_MAX_BYTES allows 1500"):
        do(cache, "set_many", EVERYBODY, {"b": bytes(1501)})
    assert do(cache, "get_many", EVERYBODY, ["a", "b"]) == {"a": b"1"}


def test_many_writes_at_once_share_transactions_and_are_all_kept() -> None:
    store = MwStore("mw.sqlite3")
    before = store.stats()["transactions"]
    commits = keeper_of(store)._commits
    with ThreadPoolExecutor(THREADS) as threads, commits._turn:  # so that all come while another one commits
        written = [threads.submit(do, store, "set_many", "one", {str(number): b"1"}) for number in range(THREADS)]
        wait_until(lambda: len(commits._waiting) == THREADS)
    for one in written:
        one.result()
    assert len(do(store, "get_many", "one", [str(number) for number in range(THREADS)])) == THREADS
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
    kept = do(MwStore("mw.sqlite3"), "get_many", "agent", ["before", "after", "late"])
    assert kept == {"before": b"1", "after": b"2"}


def test_a_repeated_write_is_done_once_also_by_the_successor() -> None:
    def request(number: int) -> RequestId:
        return RequestId(b"client", number, 1)

    for _ in range(3):  # each in the place of the one before
        store, tracker = MwStore("mw.sqlite3"), MissTracker("misses.sqlite3")
        cache = SharedCache("shared.sqlite3")
        do(store, "set_many", "one", {"a": b"1"}, None, request=request(1))
        assert do(store, "delete_many", "one", ["a", "b"], request=request(2)) == ["a"]
        do(cache, "set_many", EVERYBODY, {"a": b"1"}, request=request(1))
        assert do(cache, "delete_many", EVERYBODY, ["a", "b"], request=request(2)) == ["a"]
        do(tracker, "record", {"a": 1}, request=request(1))
    assert do(tracker, "top", 5) == [HotItem("a", 1, 0)]
    assert do(store, "get_many", "one", ["a"]) == {}


def test_calls_that_travel_together_have_an_answer_each(state_dir: Path) -> None:
    actor = MwStore("mw.sqlite3")
    large = aside_encoder(array_files.MIN_BYTES)(np.zeros(50_000))

    def request(number: int) -> RequestId:
        return RequestId(b"client", number, 1)

    calls = [
        Call("set_many", ("one", {"a": b"1"}, None), request(1)),
        Call("get_many", ("one", ["a"])),
        Call("set_many", ("one", {"b": b"3"}, 60), request(3)),
        Call("set_many", ("one", {"b": b"never"}), request(3)),  # a repetition
        Call("set_many", ("one", {"array": pack_new(*large)}, None), request(4)),
        Call("delete_many", ("one", ["a", "c"]), request(6)),
        Call("no_such_method", ()),
        Call("set_many", ("one", 7, None), request(7)),
    ]
    answers = unpack_answers(actor.perform(pack_calls(calls)))
    assert [answer.error for answer in answers[:6]] == [None] * 6
    assert [type(answer.error) for answer in answers[6:]] == [ActorFailedError] * 2
    assert answers[1].result == {"a": b"1"}  # calls are done in their order
    assert answers[5].result == ["a"]
    found = do(actor, "get_many", "one", ["a", "b", "array"])
    assert (set(found), found["b"]) == ({"b", "array"}, b"3")
    assert actor.stats()["transactions"] <= 4  # those around the get, the bad one, and that of the statistics


def test_a_write_that_fails_takes_none_of_those_that_travelled_with_it(state_dir: Path) -> None:
    tracker = MissTracker("misses.sqlite3")
    do(tracker, "record", {"a": 1}, request=RequestId(b"client", 2, 2))
    calls = [
        Call("record", ({"a": 1},), RequestId(b"other", 1, 1)),
        Call("record", ({"a": 1},), RequestId(b"client", 1, 1)),  # given up by its client, as its next request told
        Call("record", ({"b": 1},), RequestId(b"other", 2, 1)),
    ]
    first, second, third = unpack_answers(tracker.perform(pack_calls(calls)))
    assert [first.error, third.error] == [None, None]
    assert isinstance(second.error, RequestAbandonedError)
    assert do(tracker, "top", 5) == [HotItem("a", 2, 0), HotItem("b", 1, 0)]
