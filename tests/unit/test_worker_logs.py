"""What the log of a node shows of its workers' files, as Ray 2.60 writes them."""

import json
import os
from pathlib import Path

import pytest

from scripts.worker_logs import MemoryKills, WorkerLogs

PID = os.getpid()  # of a process that lives
ACTOR = ":actor_name:name=counter\n:actor_name:Counter\n"


class Worker:
    """The two files of a worker, and what is shown of them."""

    def __init__(self, folder: Path, *, is_json: bool = False) -> None:
        self.out = folder / f"worker-ab12-01000000-{PID}.out"
        self.err = self.out.with_suffix(".err")
        self._logs = WorkerLogs(folder, is_json=is_json)

    def write(self, text: str, path: Path | None = None) -> None:
        with (path or self.out).open("a") as file:
            file.write(text)

    def shown(self) -> list[str]:
        return list(self._logs.new_lines())


@pytest.fixture
def worker(tmp_path: Path) -> Worker:
    return Worker(tmp_path)


def test_each_line_says_once_who_said_it(worker: Worker) -> None:
    worker.write(f"before\n:job_id:01000000\n:task_name:square\n1\n{ACTOR}one\ntwo\n")
    worker.write(f"{ACTOR}what went wrong\n", worker.err)
    assert worker.shown() == [
        f"(counter pid={PID}) what went wrong",
        f"(worker pid={PID}) before",
        f"(square pid={PID}) 1",
        f"(counter pid={PID}) one",
        f"(counter pid={PID}) two",
    ]
    assert worker.shown() == []
    worker.write("three\n")
    assert worker.shown() == [f"(counter pid={PID}) three"]


def test_an_actor_without_a_name_is_called_by_its_class(worker: Worker) -> None:
    worker.write(":actor_name:Counter\none\n:actor_name:Counter(of=apples)\ntwo\n")
    assert worker.shown() == [f"(Counter pid={PID}) one", f"(Counter(of=apples) pid={PID}) two"]


def test_a_line_is_shown_when_it_is_whole(worker: Worker) -> None:
    worker.write("half")
    assert worker.shown() == []
    worker.write(" and half\r\n\xff\n")
    assert worker.shown() == [f"(worker pid={PID}) half and half", f"(worker pid={PID}) \xff"]


def test_nothing_is_lost_when_ray_rotates_a_file(worker: Worker) -> None:
    worker.write("one\n")
    assert worker.shown() == [f"(worker pid={PID}) one"]
    worker.write("two\n")
    worker.out.rename(worker.out.with_suffix(".1.out"))
    worker.write("three\n")
    assert worker.shown() == [f"(worker pid={PID}) two", f"(worker pid={PID}) three"]


def test_a_record_says_who_said_it(tmp_path: Path) -> None:
    worker = Worker(tmp_path, is_json=True)
    worker.write(f'{ACTOR}Grüße\n{{"message": "a record", "levelname": "INFO"}}\n[1, 2]\n{{broken\n')
    worker.write(":task_name:square\n4\n", worker.err)
    task, *records = map(json.loads, worker.shown())
    assert (task["task"], task["message"], task["pid"]) == ("square", "4", PID)
    assert {(record["actor"], record["pid"]) for record in records} == {("counter", PID)}
    assert [record["message"] for record in records] == ["Grüße", "a record", "[1, 2]", "{broken"]
    assert records[1]["levelname"] == "INFO"
    assert all("asctime" in record for record in (task, records[0]))


def test_other_files_are_left_alone(worker: Worker) -> None:
    for name in ("raylet.out", "python-core-worker-ab12_7.log", f"worker-ab12-ffffffff-{PID}.1.out"):
        worker.write("a line\n", worker.out.with_name(name))
    assert worker.shown() == []


def test_the_last_words_of_a_process_are_shown(tmp_path: Path) -> None:
    child = os.fork()
    if not child:
        os._exit(0)
    os.waitpid(child, 0)
    worker = Worker(tmp_path)
    path = tmp_path / f"worker-ab12-01000000-{child}.err"
    worker.write("the end\n", path)
    assert worker.shown() == [f"(worker pid={child}) the end"]
    assert worker.shown() == []


@pytest.mark.parametrize("before", ["low 0\nhigh 0\nmax 7\noom 1\n", "oom_kill_disable 0\nunder_oom 0\n"])
def test_a_kill_of_the_kernel_is_told_once_with_the_knob(tmp_path: Path, before: str) -> None:
    events = tmp_path / "events"
    kills = MemoryKills("WORKER_MEMORY", is_json=False, files=(events, tmp_path / "missing"))
    assert not list(kills.new_lines())
    for number, told in ((0, 0), (2, 1), (2, 0), (3, 1)):
        events.write_text(f"{before}oom_kill {number}\noom_group_kill 0\n")
        lines = list(kills.new_lines())
        assert len(lines) == told
        assert all("WORKER_MEMORY" in line for line in lines)
