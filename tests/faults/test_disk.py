"""The disk under the items: full, not writable, damaged."""

import os
import random
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Final

import pytest

from tests.faults.harness import Row, under_load
from tests.faults.journal import Verdict
from tests.faults.report import Report
from tests.faults.small_disk import SmallDisk
from tests.faults.stack import FaultStack
from tests.waiting import wait_until

OUTAGE_S: Final = 20.0  # for as long as the test leaves the disk like that
ITEMS: Final = 1500  # of 4 KB, so that the file has many pages
ORGAN: Final = "archive"
USER_VERSION_OFFSET: Final = 60  # in the header of a SQLite file, 4 bytes, big-endian
NEWER_VERSION: Final = 999
LARGE: Final = "x" * 2**20  # finds no room where a small value may


def put(stack: FaultStack, value: Any) -> tuple[int, str]:
    """Status and explanation of a write."""
    answer = stack.project.api.put("/organs/disk/items/probe", json={"value": value})
    return answer.status_code, answer.text


@pytest.mark.parametrize(
    ("fault", "on", "value", "status"),
    [
        ("disk of the items full", SmallDisk.full, LARGE, 507),
        ("disk of the items refuses every write", SmallDisk.unwritable, "refused", 503),
    ],
    ids=["full", "refuses every write"],
)
def test_a_disk_that_cannot_be_written(
    stack: FaultStack,
    report: Report,
    seed: int,
    fault: str,
    on: Callable[[SmallDisk], AbstractContextManager[None]],
    value: str,
    status: int,
) -> None:
    put(stack, "before")
    before = stack.project.actors()
    with under_load(stack, fault, OUTAGE_S, seed) as run:
        run.mark("cannot be written")
        with on(stack.disk):
            answered, told = wait_until(lambda: _unless_kept(put(stack, value)))
            assert answered == status, told
            assert "cannot write" in told
            assert stack.project.get("disk", "probe") in ("before", value)  # some may find room
        run.mark("can again")
        wait_until(lambda: put(stack, "after")[0] == 200)  # Valkey looks once a second
    assert stack.project.actors() == before
    report.add(run)
    run.finished.check()


@pytest.mark.only_sqlite("its files are opened by each new process of an actor")
def test_files_that_a_new_process_may_not_write(stack: FaultStack, report: Report, seed: int) -> None:
    put(stack, "before")
    with under_load(stack, "store without write permission, and SIGKILL of its actor", OUTAGE_S, seed) as run:
        run.mark("no permission")
        with stack.disk.without_permission():
            before = stack.actor("mw")["pid"]
            stack.kill_actors("mw")
            wait_until(lambda: stack.actor("mw")["pid"] not in (None, before))
            status, told = put(stack, "refused")
            assert status == 503, told
            assert "mw.sqlite3" in told
            assert stack.project.get("disk", "probe") == "before"
            reader = stack.actor("mw")["pid"]
        run.mark("permission")
        assert put(stack, "after")[0] == 200
        assert stack.actor("mw")["pid"] == reader
    report.add(run)
    run.finished.check()


def _unless_kept(answer: tuple[int, str]) -> tuple[int, str] | None:
    return None if answer[0] == 200 else answer


def damaged_at_random(store: Path, seed: int) -> None:
    """In some pages, whichever."""
    chance = random.Random(seed)
    with store.open("r+b") as file:
        for _ in range(12):
            file.seek(chance.randrange(store.stat().st_size))
            file.write(chance.randbytes(200))


def truncated(store: Path, seed: int) -> None:
    """The last third is gone."""
    os.truncate(store, store.stat().st_size * 2 // 3)


def emptied(store: Path, seed: int) -> None:
    """Nothing is left, not even the write-ahead log."""
    os.truncate(store, 0)
    store.with_name(f"{store.name}-wal").unlink(missing_ok=True)


def from_a_newer_version(store: Path, seed: int) -> None:
    """With a schema that this code does not know."""
    with store.open("r+b") as file:
        file.seek(USER_VERSION_OFFSET)
        file.write(NEWER_VERSION.to_bytes(4))


@pytest.mark.only_sqlite("another engine looks after its file itself")
@pytest.mark.parametrize("damage", [damaged_at_random, truncated, emptied, from_a_newer_version])
def test_a_damaged_store(stack: FaultStack, report: Report, seed: int, damage: Callable[[Path, int], None]) -> None:
    stack.repair()
    written = {f"item-{number}": {"number": number, "filler": f"{number} " * 700} for number in range(ITEMS)}
    answer = stack.project.api.put(f"/organs/{ORGAN}/items", json={"items": written})
    assert answer.status_code == 200, answer.text
    stack.checkpoint("mw")
    stack.project.make("backup")

    began = time.monotonic()
    damage(stack.disk.store("mw"), seed)
    before = stack.actor("mw")["pid"]
    if before is not None:  # it may have noticed by itself
        stack.kill_actors("mw")
    told, wrong, kept = wait_until(lambda: _after_damage(stack, written, before))
    stack.project.make("restore", "YES=1")
    stack.wait_until_ready()
    told_later, still_wrong, restored = _compare(stack, written)
    assert stack.project.api.put(f"/organs/{ORGAN}/items/after", json={"value": 1}).status_code == 200
    lost = sorted(set(written) - set(restored))
    verdict = Verdict(len(written), 2 * len(written), 0, lost, [], 0.0, {told: 1})
    report.add_row(
        Row(
            f"store file {damage.__name__.replace('_', ' ')}: {len(kept)} of {ITEMS} items kept, all after a restore",
            0.0,
            verdict,
            [(time.monotonic() - began, "restored")],
            [],
            seed,
        )
    )
    assert told
    assert (told_later, wrong, still_wrong, lost) == ("", [], [], [])


def _after_damage(
    stack: FaultStack, written: dict[str, Any], before: int | None
) -> tuple[str, list[str], dict[str, Any]] | None:
    """What a user is told, items that came back wrong, and all that came back; None while the actor restarts."""
    actor = stack.actor("mw")
    if not actor["running"]:
        refused = f"schema version {NEWER_VERSION}"
        return (refused, [], {}) if refused in stack.project.run("make", "bootstrap").stdout else None
    if actor["pid"] == before:
        return None
    told, wrong, found = _compare(stack, written)
    stats = stack.actor("mw")["stats"] or {}
    return (f"salvaged {stats['salvaged']} items" if "salvaged" in stats else told), wrong, found


def _compare(stack: FaultStack, written: dict[str, Any]) -> tuple[str, list[str], dict[str, Any]]:
    """The first error, the items that came back with another value than was written, and all that came back."""
    told, found = "", {}
    for item_id in written:
        answer = stack.project.api.get(f"/organs/{ORGAN}/items/{item_id}")
        if answer.status_code == 200:
            found[item_id] = answer.json()["value"]
        elif answer.status_code != 404 and not told:
            told = f"HTTP {answer.status_code}: {answer.json()['detail']}"
    return told, [item_id for item_id, value in found.items() if value != written[item_id]], found
