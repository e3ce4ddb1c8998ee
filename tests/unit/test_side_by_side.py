import fcntl
import threading
from pathlib import Path

from tests.side_by_side import Room
from tests.waiting import wait_until

DEADLINE_S = 60


def enters(room: Room, *, alone: bool) -> threading.Event:
    """Let it enter on a thread of its own; whether it is in."""
    is_in = threading.Event()

    def enter() -> None:
        room.enter(alone=alone)
        is_in.set()

    threading.Thread(target=enter, daemon=True).start()
    return is_in


def is_held(door: Path) -> bool:
    with door.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def test_whoever_is_alone_waits_for_the_others_and_they_for_it(tmp_path: Path) -> None:
    first, second, lone, late = (Room(tmp_path) for _ in range(4))
    first.enter(alone=False)
    second.enter(alone=False)
    lone_is_in = enters(lone, alone=True)
    wait_until(lambda: is_held(tmp_path / "door"))
    late_is_in = enters(late, alone=False)
    first.leave()
    assert not lone_is_in.is_set()
    second.leave()
    assert lone_is_in.wait(DEADLINE_S)
    assert not late_is_in.is_set()
    lone.enter(alone=True)  # again, for the next test
    lone.leave()
    assert late_is_in.wait(DEADLINE_S)
