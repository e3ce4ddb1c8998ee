"""What tasks and actors print, log and raise is in the log of the stack, once and with who said it."""

import re

from tests.stack.project import Project
from tests.waiting import wait_until

PROGRAM = """
import logging, os, sys
import ray

ray.init()
print("arguments:", sys.argv[1:])


@ray.remote(max_restarts=-1, max_task_retries=-1)
class Counter:
    def __init__(self):
        print("a life begins")

    def speak(self, words):
        print("said", words)
        logging.getLogger("of.mine").warning("logged %s", words)

    def fail(self):
        raise ValueError("on purpose")

    def die(self):
        os._exit(1)


@ray.remote
def task():
    print("from a task")


counter = Counter.options(name="counter", lifetime="detached", get_if_exists=True).remote()
ray.get([counter.speak.remote(words) for words in sys.argv[1:]])
ray.get(task.remote())
try:
    ray.get(counter.fail.remote())
except ValueError:
    pass
counter.die.options(max_task_retries=0).remote()
ray.get(counter.speak.remote("after its death"))
"""
MANY = 100_000  # what a loop that prints makes in a minute
END = 'import ray; ray.init(); ray.kill(ray.get_actor("counter"))'


def said_by(stack: Project, actor: str) -> list[str]:
    """Without the service and the process."""
    lines = stack.make("logs", f"A={actor}", "FOLLOW=0").splitlines()
    return [line.partition("pid=")[2].partition(") ")[2] for line in lines if f"({actor} pid=" in line]


def test_an_actor_is_heard_after_its_job_has_ended_and_in_each_life(stack: Project) -> None:
    (stack.folder / "app/jobs").mkdir(exist_ok=True)
    (stack.folder / "app/jobs/speak.py").write_text(PROGRAM)
    (stack.folder / "app/jobs/end.py").write_text(END)
    try:
        first = stack.make("run", "M=app.jobs.speak", "ARGS=one two")
        assert "arguments: ['one', 'two']" in first
        stack.make("run", "M=app.jobs.speak", "ARGS=three")
        wait_until(lambda: said_by(stack, "counter").count("said after its death") == 2)
        lines = said_by(stack, "counter")
        said = [line for line in lines if line.startswith(("said", "a life"))]
        of_a_job = ["said after its death"]
        assert said[:1] + said[1:3] == ["a life begins", "said one", "said two"]
        assert said[3:] == ["a life begins", *of_a_job, "said three", "a life begins", *of_a_job]
        assert sum("logged one" in line for line in lines) == 1
        assert lines.count("ValueError: on purpose") == 2
        assert any(re.search(r"speak\.py.*, line \d+, in fail", line) for line in lines), lines
        assert said_by(stack, "task") == ["from a task"] * 2
    finally:
        stack.make("run", "M=app.jobs.end")


LOUD = """
import ray

ray.init(log_to_driver=False)


@ray.remote
class Loud:
    def speak(self, lines):
        for number in range(lines):
            print("line", number)


ray.get(Loud.options(name="loud").remote().speak.remote(%d))
print("all was said")
"""


def test_no_line_of_many_is_lost(stack: Project) -> None:
    (stack.folder / "app/jobs").mkdir(exist_ok=True)
    (stack.folder / "app/jobs/loud.py").write_text(LOUD % MANY)
    assert "all was said" in stack.make("run", "M=app.jobs.loud")
    wait_until(lambda: said_by(stack, "loud")[-1:] == [f"line {MANY - 1}"])
    assert said_by(stack, "loud") == [f"line {number}" for number in range(MANY)]


def test_an_actor_that_never_spoke_is_named(stack: Project) -> None:
    done = stack.run("make", "logs", "A=nobody", "FOLLOW=0")
    assert done.returncode
    assert "no actor named 'nobody' has said anything" in done.stdout
    assert "Traceback" not in done.stdout
