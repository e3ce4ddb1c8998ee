"""Stores of version 0.1.0, as it made them; what is in them must be there for ever."""

import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np

from seedcore.settings import Synchronous
from seedcore.store.engine import HotItem
from seedcore.store.files import array_files
from seedcore.store.requests import RequestId
from seedcore.store.sqlite.item_store import ItemStore
from seedcore.store.sqlite.miss_store import MissStore
from seedcore.store.sqlite.request_log import RequestLog
from seedcore.store.values.codec import decode
from tests.waiting import wait_until

DUMPS = Path(__file__).parent / "version_0_1_0"
CLIENT = b"a client of before"
OWN = ["plan", "array", "session", "series"]
SERIES = np.arange(40_000, dtype="<i8")  # so large that it stands in a file of its own
SERIES_FILE = "025c7ecaa1e5406d9fc35772f74d6056"
YEAR_2130 = 5_049_000_000.0  # when the session, which was set for a hundred years, is over


def made(name: str, folder: Path) -> Path:
    path = folder / f"{name}.sqlite3"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript((DUMPS / f"{name}.sql").read_text())
    return path


def made_items(folder: Path) -> Path:
    arrays = folder / "items.sqlite3-arrays"
    arrays.mkdir()
    (arrays / SERIES_FILE).write_bytes(SERIES.tobytes())
    return made("items", folder)


def test_items_and_requests_are_known(tmp_path: Path) -> None:
    path = made_items(tmp_path)
    store = ItemStore(path, Synchronous.NORMAL)
    found = array_files.load(path, lambda: store.get_many("agent", [*OWN, "nothing"]))
    assert list(found) == OWN
    assert decode(found["plan"]) == {"step": 1, "of": ["Grüße", 2.5, None]}
    assert np.array_equal(decode(found["array"]), np.arange(6).reshape(2, 3))
    assert decode(found["session"]) == ("a", 1)
    series = decode(found["series"])
    assert series.dtype == SERIES.dtype
    assert np.array_equal(series, SERIES.reshape(200, 200))
    assert decode(store.get_many("", ["weather"])["weather"]) == "sunny"
    assert "salvaged" not in store.stats()
    with store.database.transaction() as connection:
        log = RequestLog()
        assert log.once(connection, RequestId(CLIENT, 2, 1), lambda: ["done again"]) == []
        log.once(connection, RequestId(CLIENT, 3, 2), lambda: store.delete_many(connection, "agent", ["plan"]))
    assert store.stats()["items"] == 4
    store.database.close()


def test_writes_go_on_and_outlive_the_next_open(tmp_path: Path) -> None:
    path = made_items(tmp_path)
    store = ItemStore(path, Synchronous.NORMAL)
    before = store.get_many("agent", OWN)
    with store.database.transaction() as connection:
        store.set_many(connection, "agent", {"plan": b"new", "another": b"more"}, None)
        store.delete_many(connection, "agent", ["series"])
    wait_until(lambda: not list((tmp_path / "items.sqlite3-arrays").iterdir()))
    store.database.close()
    store = ItemStore(path, Synchronous.NORMAL)
    kept = {"plan": b"new", "another": b"more", "array": before["array"], "session": before["session"]}
    assert store.get_many("agent", [*OWN, "another"]) == kept
    assert store.get_many("", ["weather"]).keys() == {"weather"}
    stats = store.stats()
    weather = len(store.get_many("", ["weather"])["weather"])
    assert (stats["items"], stats["bytes"]) == (5, sum(map(len, kept.values())) + weather)
    assert "salvaged" not in stats
    store.database.close()


def test_a_time_to_live_goes_on(tmp_path: Path) -> None:
    store = ItemStore(made_items(tmp_path), Synchronous.NORMAL, clock=lambda: YEAR_2130)
    assert store.get_many("agent", OWN).keys() == {"plan", "array", "series"}
    with store.database.transaction() as connection:
        store.delete_expired(connection)
    stats = store.stats()
    assert (stats["items"], stats["expirations"]) == (4, 1)
    store.database.close()


def test_misses_are_counted_on(tmp_path: Path) -> None:
    store = MissStore(made("misses", tmp_path), Synchronous.NORMAL, 100)
    with store.database.transaction() as connection:
        store.record(connection, {"plan b": 3})
    assert store.top(5) == [HotItem("plan b", 4, 0), HotItem("nothing", 3, 0)]
    assert "salvaged" not in store.stats()
    store.database.close()
