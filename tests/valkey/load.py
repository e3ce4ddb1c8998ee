"""Writes and reads beside a fault, and what was acknowledged meanwhile."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import count

from seedcore.memory.working_memory import MwManager
from tests.waiting import wait_until

THREADS = 4
FAULT_DEADLINE_S = 120.0


def written_while(memories: list[MwManager], fault: Callable[[], None]) -> dict[str, int]:
    """The last value of each item that was acknowledged while some threads wrote; each read its own at once."""
    acknowledged: dict[str, int] = {}
    is_over = threading.Event()

    def write(thread: int) -> None:
        memory, item_id = memories[thread % len(memories)], f"item-{thread}"
        for number in count():
            memory.set_item(item_id, number)
            acknowledged[item_id] = number
            assert memory.get_item(item_id) == number, "a read is never older than what was acknowledged"
            if is_over.is_set():
                return

    with ThreadPoolExecutor(THREADS) as threads:
        writing = [threads.submit(write, thread) for thread in range(THREADS)]
        try:
            wait_until(lambda: len(acknowledged) == THREADS)
            fault()
            before = dict(acknowledged)
            wait_until(
                lambda: (
                    any(one.done() for one in writing)  # with an error
                    or all(acknowledged[item_id] > before[item_id] for item_id in before)
                ),
                FAULT_DEADLINE_S,
            )
        finally:
            is_over.set()
        for one in writing:
            one.result()
    return acknowledged


def read_by(memories: list[MwManager]) -> dict[str, int]:
    """What the same threads would read now."""
    return {f"item-{thread}": memories[thread % len(memories)].get_item(f"item-{thread}") for thread in range(THREADS)}
