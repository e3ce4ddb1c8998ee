"""Plain Ray, without a word of ours, in the stack's environment: it is in RAY_NAMESPACE unless it names another."""

import json
import sys

import pytest
from ray.job_submission import JobStatus, JobSubmissionClient

from seedcore.settings import Settings
from tests.cluster.cluster import Cluster
from tests.waiting import wait_until

INIT = "import ray; ray.init(); ray.get_actor('mw'); print('in', ray.get_runtime_context().namespace)"
AUTO_INIT = "import ray; ray.get_actor('mw'); print('in', ray.get_runtime_context().namespace)"
NAMED = "import ray; ray.init(namespace='another'); print('in', ray.get_runtime_context().namespace)"
IN_TASK_AND_ACTOR = """
import ray
ray.init()

def find():
    ray.get_actor("mw")
    return ray.get_runtime_context().namespace

class Own:
    def find(self):
        return find()

actor = ray.remote(num_cpus=0)(Own).options(name="own-of-plain-ray").remote()
print("in", *ray.get([ray.remote(find).remote(), actor.find.remote()]))
ray.kill(ray.get_actor("own-of-plain-ray"))
"""


@pytest.mark.parametrize("program", [INIT, AUTO_INIT, IN_TASK_AND_ACTOR], ids=["init", "auto-init", "task and actor"])
def test_a_driver_that_names_no_namespace_finds_the_singletons(
    cluster: Cluster, settings: Settings, program: str
) -> None:
    done = cluster.run("-c", program)
    assert done.returncode == 0, done.stdout
    (where,) = [line.split()[1:] for line in done.stdout.splitlines() if line.startswith("in ")]
    assert set(where) == {settings.ray_namespace}


def test_a_driver_that_names_one_is_in_that(cluster: Cluster, settings: Settings) -> None:
    done = cluster.run("-c", NAMED)
    assert "in another" in done.stdout, done.stdout


def test_a_submitted_job_finds_the_singletons(settings: Settings) -> None:
    client = JobSubmissionClient()
    job = client.submit_job(entrypoint=f"{sys.executable} -m scripts.plain_driver mw miss_tracker shared_cache")
    wait_until(lambda: client.get_job_status(job).is_terminal())
    logs = client.get_job_logs(job)
    assert client.get_job_status(job) is JobStatus.SUCCEEDED, logs
    (printed,) = [json.loads(line) for line in logs.splitlines() if line.startswith("{")]
    assert printed == {"driver": settings.ray_namespace, "task": settings.ray_namespace}
