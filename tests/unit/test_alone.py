"""Two verbs that start or stop something come one after the other."""

import threading
from pathlib import Path

import pytest

from scripts.host import alone as module
from scripts.host.alone import alone
from scripts.host.runtime import StackError
from tests.waiting import wait_until


@pytest.fixture(autouse=True)
def local_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(module, "LOCAL_DIR", tmp_path / "local")
    return tmp_path / "local"


def test_the_second_waits_for_the_first_and_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    order: list[str] = []
    said: list[str] = []

    def second() -> None:
        with alone("stack"):
            order.append("second")

    def has_said_so() -> bool:
        said.append(capsys.readouterr().out)
        return "waiting for another verb that is at work on the stack 'stack'" in "".join(said)

    with alone("stack"):
        thread = threading.Thread(target=second)
        thread.start()
        wait_until(has_said_so)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]


def test_two_stacks_do_not_wait_for_each_other() -> None:
    with alone("one"), alone("two"):
        pass


def test_a_verb_that_failed_leaves_nobody_waiting() -> None:
    with pytest.raises(ZeroDivisionError), alone("stack"):
        raise ZeroDivisionError
    with alone("stack"):
        pass


def test_a_folder_that_cannot_be_written_is_named(local_dir: Path) -> None:
    local_dir.touch()
    with (
        pytest.raises(StackError, match=rf"cannot write {local_dir}/lock\.stack: .* The checkout must be yours"),
        alone("stack"),
    ):
        pass
