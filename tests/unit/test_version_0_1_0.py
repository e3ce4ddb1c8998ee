"""Stores of version 0.1.0, as it made them; what is in them must be there for ever."""

import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np

from seedcore.settings import Synchronous
from seedcore.store.codec import decode
from seedcore.store.requests import RequestId
from seedcore.store.sqlite.item_store import ItemStore
from seedcore.store.sqlite.miss_store import HotItem, MissStore
from seedcore.store.sqlite.request_log import RequestLog

DUMPS = Path(__file__).parent / "version_0_1_0"
CLIENT = b"a client of before"


def made(name: str, folder: Path) -> Path:
    path = folder / f"{name}.sqlite3"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript((DUMPS / f"{name}.sql").read_text())
    return path


def test_items_and_requests_are_known(tmp_path: Path) -> None:
    store = ItemStore(made("items", tmp_path), Synchronous.NORMAL)
    found = store.get_many("agent", ["plan", "array", "nothing"])
    assert set(found) == {"plan", "array"}
    assert decode(found["plan"]) == {"step": 1, "of": ["Grüße", 2.5, None]}
    assert np.array_equal(decode(found["array"]), np.arange(6).reshape(2, 3))
    assert decode(store.get_many("", ["weather"])["weather"]) == "sunny"
    assert "salvaged" not in store.stats()
    with store.database.transaction() as connection:
        log = RequestLog()
        assert log.once(connection, RequestId(CLIENT, 2, 1), lambda: ["done again"]) == []
        log.once(connection, RequestId(CLIENT, 3, 2), lambda: store.delete_many(connection, "agent", ["plan"]))
    assert store.stats()["items"] == 2
    store.database.close()


def test_misses_are_counted_on(tmp_path: Path) -> None:
    store = MissStore(made("misses", tmp_path), Synchronous.NORMAL, 100)
    with store.database.transaction() as connection:
        store.record(connection, {"plan b": 3})
    assert store.top(5) == [HotItem("plan b", 4, 0), HotItem("nothing", 3, 0)]
    assert "salvaged" not in store.stats()
    store.database.close()
