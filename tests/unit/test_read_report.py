"""What one actor does not take holds up nothing of the others."""

from seedcore.errors import ActorUnavailableError
from seedcore.store.read_report import ReadReport, Reads
from seedcore.store.requests import RequestId
from tests.waiting import wait_until


def test_an_actor_that_is_gone_keeps_no_others_from_being_told() -> None:
    told: list[Reads] = []
    missed: dict[str, int] = {}

    def gone(reads: Reads) -> None:
        raise ActorUnavailableError

    def record(counts: dict[str, int], request: RequestId) -> None:
        missed.update(counts)

    report = ReadReport({"gone": gone, "there": told.append}, "there", record)
    report.add("gone", ["a"], 0)
    report.add("there", ["b"], 0)
    report.add_missed(["c"])
    wait_until(lambda: told and missed)
    assert (told[0].hits, missed) == (1, {"c": 1})
    report.close()
