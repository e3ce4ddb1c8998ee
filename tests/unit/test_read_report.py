"""What one actor does not take holds up nothing of the others."""

import threading

import pytest

from seedcore.errors import ActorUnavailableError
from seedcore.store.read_report import ReadReport, Reads
from seedcore.store.requests import RequestId
from tests.waiting import wait_until


@pytest.mark.parametrize("error", [ActorUnavailableError, RuntimeError])
def test_an_actor_that_is_gone_keeps_no_others_from_being_told(error: type[Exception]) -> None:
    told: list[Reads] = []
    missed: dict[str, int] = {}

    def gone(reads: Reads) -> None:
        raise error

    def record(counts: dict[str, int], request: RequestId) -> None:
        missed.update(counts)

    report = ReadReport({"gone": gone, "there": told.append}, "there", record)
    report.add("gone", ["a"], 0)
    report.add("there", ["b"], 0)
    report.add_missed(["c"])
    wait_until(lambda: told and missed)
    assert (told[0].hits, missed) == (1, {"c": 1})
    report.add("there", ["d"], 0)
    wait_until(lambda: len(told) == 2)
    report.close()


def test_who_asks_while_misses_are_told_has_them_told_once() -> None:
    may_end = threading.Event()
    tries: list[int] = []

    def record(counts: dict[str, int], request: RequestId) -> None:
        tries.append(request.number)
        may_end.wait(60)
        raise ActorUnavailableError

    report: ReadReport[str] = ReadReport({}, "", record)
    report.add_missed(["a"])
    asked = [report.sending_missed() for _ in range(8)]
    report.close()
    may_end.set()
    for one in asked:
        with pytest.raises(ActorUnavailableError):
            one.result(60)
    assert len(tries) <= 2  # one of them by the thread that tells
