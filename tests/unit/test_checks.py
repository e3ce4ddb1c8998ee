from collections.abc import Callable

import pytest
from ray.exceptions import GetTimeoutError, RayActorError, RayTaskError

from scripts.checks import Check, CheckError, run_checks
from scripts.cluster_checks import cluster_check
from seedcore.errors import ActorNotFoundError

Lines = list[str]


def holds(facts: str) -> Callable[[], str]:
    return lambda: facts


def fails(error: Exception) -> Callable[[], str]:
    def run() -> str:
        raise error

    return run


def task_error() -> Exception:
    error: Exception = RayTaskError("task", "Traceback ...", ValueError("the cause"))  # type: ignore[no-untyped-call]
    return error


def lines_of(capsys: pytest.CaptureFixture[str]) -> Lines:
    return capsys.readouterr().out.splitlines()


def test_checks_that_hold_print_a_line_each_with_their_facts(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_checks([Check("first", holds("one fact")), Check("second", holds("Grüße 🎭"))])
    first, second = lines_of(capsys)
    assert first.startswith("✅ first: one fact (")
    assert second.startswith("✅ second: Grüße 🎭 (")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (CheckError("it is not so. Do this."), ["it is not so. Do this."]),
        (ActorNotFoundError("no actor 'mw'. `make bootstrap`"), ["no actor 'mw'. `make bootstrap`"]),
        (GetTimeoutError("Get timed out"), ["Get timed out", "make logs"]),
        (RayActorError(), ["actor", "make monitor"]),
        (task_error(), ["ValueError: the cause", "make logs"]),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_check_that_does_not_hold_says_why_in_its_line_and_the_others_run(
    capsys: pytest.CaptureFixture[str], error: Exception, words: list[str]
) -> None:
    assert not run_checks(
        [Check("before", holds("fact")), cluster_check("broken", fails(error)), Check("after", holds("fact"))]
    )
    before, broken, after = lines_of(capsys)
    assert before.startswith("✅ before")
    assert broken.startswith("❌ broken: ")
    assert after.startswith("✅ after")
    for word in words:
        assert word in broken


def test_each_line_is_printed_before_the_next_check_begins(capsys: pytest.CaptureFixture[str]) -> None:
    seen: list[Lines] = []

    def look() -> str:
        seen.append(lines_of(capsys))
        return ""

    assert run_checks([Check("first", holds("")), Check("second", look)])
    assert [line.split(":")[0] for line in seen[0]] == ["✅ first"]


def test_an_error_that_nobody_expects_is_not_hidden() -> None:
    with pytest.raises(ZeroDivisionError):
        run_checks([Check("broken", fails(ZeroDivisionError()))])


def test_no_checks_hold() -> None:
    assert run_checks([])
