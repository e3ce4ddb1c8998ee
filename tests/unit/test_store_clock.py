"""Times to live while the wall clock is set and the machine restarts."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from seedcore.settings import Synchronous
from seedcore.store.sqlite.item_store import ItemStore
from seedcore.store.sqlite.store_clock import MachineClocks, StoreClock, seconds_since_boot, this_boot

HOUR = 3600.0
WALL = 1_800_000_000.0


class Machine:
    """Clocks that only the test moves."""

    def __init__(self) -> None:
        self.wall = WALL
        self.since_boot = 5000.0
        self.boots = 0

    @property
    def clocks(self) -> MachineClocks:
        return MachineClocks(lambda: self.wall, lambda: self.since_boot, lambda: f"boot {self.boots}")

    def wait(self, seconds: float) -> None:
        self.wall += seconds
        self.since_boot += seconds

    def reboot(self) -> None:
        self.since_boot = 1.0
        self.boots += 1


@pytest.fixture
def machine() -> Machine:
    return Machine()


@contextmanager
def opened(path: Path, machine: Machine) -> Iterator[ItemStore]:
    store = ItemStore(path, Synchronous.NORMAL, clocks=machine.clocks)
    try:
        yield store
    finally:
        store.database.close()


def put(store: ItemStore, ttl_s: float | None) -> None:
    with store.database.transaction() as connection:
        store.set_many(connection, "", {"item": b"value"}, ttl_s)


def is_there(store: ItemStore) -> bool:
    return bool(store.get_many("", ["item"]))


@pytest.mark.parametrize("jump", [-HOUR, -1e9, HOUR])
def test_a_jump_of_the_wall_clock_changes_no_time_to_live(tmp_path: Path, machine: Machine, jump: float) -> None:
    with opened(tmp_path / "items.sqlite3", machine) as store:
        put(store, 10)
        machine.wall += jump
        machine.wait(9)
        assert is_there(store)
        machine.wait(1)
        assert not is_there(store)


@pytest.mark.parametrize("jump", [-HOUR, -1e9, HOUR])
@pytest.mark.parametrize("saves", [False, True])
def test_nor_when_the_store_is_opened_again(tmp_path: Path, machine: Machine, jump: float, saves: bool) -> None:
    path = tmp_path / "items.sqlite3"
    with opened(path, machine) as store:
        put(store, 10)
        machine.wait(4)
        if saves:
            with store.database.transaction():
                pass
    machine.wall += jump
    with opened(path, machine) as store:
        machine.wait(5)
        assert is_there(store)
        machine.wait(1)
        assert not is_there(store)


def test_after_a_restart_of_the_machine_an_expired_item_does_not_come_back(tmp_path: Path, machine: Machine) -> None:
    path = tmp_path / "items.sqlite3"
    with opened(path, machine) as store:
        put(store, 10)
        machine.wait(20)
        with store.database.transaction():  # any write keeps the time
            pass
        before = store.database.now()
    machine.reboot()
    machine.wall -= HOUR
    with opened(path, machine) as store:
        assert store.database.now() >= before
        assert not is_there(store)
        put(store, 10)
        machine.wait(9)
        assert is_there(store)
        machine.wait(1)
        assert not is_there(store)


def test_while_the_machine_is_off_time_goes_on(tmp_path: Path, machine: Machine) -> None:
    path = tmp_path / "items.sqlite3"
    with opened(path, machine) as store:
        put(store, 10)
    machine.reboot()
    machine.wall += HOUR
    with opened(path, machine) as store:
        assert not is_there(store)


def test_another_process_of_the_machine_has_the_same_time(tmp_path: Path, machine: Machine) -> None:
    path = tmp_path / "items.sqlite3"
    with opened(path, machine) as store:
        machine.wall -= HOUR
        machine.wait(7)
        with closing(sqlite3.connect(path)) as reader:
            assert StoreClock(reader, machine.clocks)() == store.database.now() == WALL + 7


def test_a_damaged_time_is_not_believed(tmp_path: Path, machine: Machine) -> None:
    path = tmp_path / "items.sqlite3"
    with opened(path, machine) as store:
        put(store, 10)
    with closing(sqlite3.connect(path)) as disk, disk:
        disk.execute("UPDATE writer SET time_seen = 1e12, clock_offset = 1e12")
    with opened(path, machine) as store:
        assert store.database.now() == WALL
        assert is_there(store)


def test_the_real_clocks_go_on() -> None:
    assert 0 < seconds_since_boot() <= seconds_since_boot()
    assert this_boot()
