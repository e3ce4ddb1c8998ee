"""Stores that cannot be written: on a full disk, without permission, on a read-only file."""

import logging
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from seedcore.errors import StoreFullError, StoreUnavailableError
from seedcore.settings import Synchronous
from seedcore.store.files.store_files import companion
from seedcore.store.sqlite.item_store import ItemStore
from tests.unit.test_crashes import files_at_most, opened
from tests.unit.test_damage import copy
from tests.unit.test_schema import ITEMS_OF_VERSION_1, make

NOBODY = 65534
DEADLINE_S = 60


def put(store: ItemStore, value: bytes = b"later") -> None:
    with store.database.transaction() as connection:
        store.set_many(connection, "", {"item": value}, None)


def get(store: ItemStore) -> bytes | None:
    return store.get_many("", ["item"]).get("item")


@pytest.fixture(params=["closed", "killed", "killed with shared memory"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A store with an item, as its last writer left it."""
    path = tmp_path / "items.sqlite3"
    with opened(path) as store:
        put(store, b"kept")
        if request.param != "closed":
            copy(path, tmp_path / "killed")
            shutil.copy(companion(path, "-shm"), tmp_path / "shm")
    if request.param != "closed":
        copy(tmp_path / "killed", path)
    if request.param == "killed with shared memory":
        shutil.copy(tmp_path / "shm", companion(path, "-shm"))
    return path


@contextmanager
def in_place_of_root(uid: int) -> Iterator[None]:
    """What follows is done without root's permission to do everything."""
    os.seteuid(uid)
    try:
        yield
    finally:
        os.seteuid(0)


def test_a_store_on_a_full_disk_serves_reads_and_writes_again_when_there_is_space(path: Path) -> None:
    with files_at_most(100):
        store = ItemStore(path, Synchronous.NORMAL)
        assert get(store) == b"kept"
        for _ in range(2):
            with pytest.raises(StoreFullError, match=f"{path}.*free space"):
                put(store)
        assert get(store) == b"kept"
        assert store.stats()["items"] == 1
    put(store)
    assert get(store) == b"later"
    store.database.close()
    with opened(path) as store:
        assert get(store) == b"later"


def test_a_disk_that_becomes_full_refuses_writes_as_full(path: Path) -> None:
    with opened(path) as store:
        put(store)
        with files_at_most(companion(path, "-wal").stat().st_size + 5000):
            with pytest.raises(StoreFullError, match=f"{path}.*free space"):
                put(store, b"large" * 10_000)
            assert get(store) == b"later"
        put(store, b"last")
        assert get(store) == b"last"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can take another user id")
@pytest.mark.parametrize("has_folder", [False, True], ids=["read-only folder", "read-only files"])
def test_a_store_without_permission_serves_reads_and_writes_again_once_it_may(
    path: Path, has_folder: bool, caplog: pytest.LogCaptureFixture
) -> None:
    for folder in path.parents:
        if folder.stat().st_mode & 0o005 != 0o005:
            folder.chmod(0o755)
    for file in path.parent.iterdir():
        file.chmod(0o644)
    path.parent.chmod(0o777 if has_folder else 0o755)
    with in_place_of_root(NOBODY):
        store = ItemStore(path, Synchronous.NORMAL)
        assert get(store) == b"kept"
        with pytest.raises(StoreUnavailableError, match=f"{path}.*(owner, mode, mount)") as refused:
            put(store)
        assert not isinstance(refused.value, StoreFullError)
    assert [record.levelno for record in caplog.records if record.levelno > logging.INFO] == [logging.ERROR]
    put(store)  # as root again
    assert get(store) == b"later"
    store.database.close()


@pytest.mark.skipif(shutil.which("chattr") is None, reason="there is no chattr")
def test_a_file_that_nobody_may_change_is_read(path: Path) -> None:
    done = subprocess.run(["chattr", "+i", str(path)], check=False, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"chattr does not work here: {done.stderr}")
    try:
        store = ItemStore(path, Synchronous.NORMAL)
        assert get(store) == b"kept"
        with pytest.raises(StoreUnavailableError, match=str(path)):
            put(store)
    finally:
        subprocess.run(["chattr", "-i", str(path)], check=True)
    put(store)
    assert get(store) == b"later"
    store.database.close()


def test_a_file_of_an_older_version_that_cannot_be_migrated_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "items.sqlite3"
    make(path, ITEMS_OF_VERSION_1)
    with files_at_most(100), pytest.raises(StoreFullError, match=str(path)):
        ItemStore(path, Synchronous.NORMAL)
    with opened(path) as store:
        put(store)


def test_a_new_store_on_a_full_disk_is_refused_and_opens_later(tmp_path: Path) -> None:
    path = tmp_path / "items.sqlite3"
    with files_at_most(100), pytest.raises(StoreFullError, match=str(path)):
        ItemStore(path, Synchronous.NORMAL)
    with opened(path) as store:
        put(store)
        assert get(store) == b"later"
