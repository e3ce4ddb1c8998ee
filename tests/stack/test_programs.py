"""Programs of the user's, as `make run` runs them."""

import os
import signal
import subprocess

from tests.stack.project import MAKE_TIMEOUT_S, Project
from tests.waiting import wait_until

ENDLESS = """
import time
import ray


def turn():
    while True:
        time.sleep(0.1)


ray.init()
ray.get(ray.remote(num_cpus=0)(turn).options(name="endless").remote())
"""


def test_a_program_ends_with_its_verb(stack: Project) -> None:
    (stack.folder / "app/jobs").mkdir(exist_ok=True)
    (stack.folder / "app/jobs/endless.py").write_text(ENDLESS)

    def runs() -> bool:
        return any("endless" in node["tasks"] for node in stack.api.get("/work").json()["nodes"])

    with subprocess.Popen(
        ["make", "run", "M=app.jobs.endless"],
        cwd=stack.folder,
        env=stack.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a test run in the background ignores it
        text=True,
    ) as verb:
        wait_until(runs)
        os.killpg(verb.pid, signal.SIGINT)  # Ctrl-C
        told, _ = verb.communicate(timeout=MAKE_TIMEOUT_S)
    assert verb.returncode
    assert "Traceback" not in told
    wait_until(lambda: not runs())
