"""What `make doctor` says of a cluster, each trouble caused."""

import re
from typing import Any

import pytest
import ray

from scripts import verify
from scripts.checks import CheckError
from scripts.doctor_of_cluster import DoctorOfCluster
from seedcore.settings import Settings


def test_a_good_cluster_has_nothing_wrong(settings: Settings) -> None:
    assert [check.run() for check in DoctorOfCluster(settings).checks()]


def test_it_says_in_which_namespace_the_singletons_live(settings: Settings, elsewhere: Settings) -> None:
    with pytest.raises(CheckError) as found:
        DoctorOfCluster(elsewhere).namespaces()
    said = rf"'mw' lives in [^;]*'{settings.ray_namespace}'[^;]*, your RAY_NAMESPACE is '{elsewhere.ray_namespace}'"
    assert re.search(f"{said}: use one everywhere", str(found.value))


def test_it_says_which_singleton_lives_nowhere(settings: Settings) -> None:
    with pytest.raises(CheckError, match="'never' lives nowhere: `make bootstrap` creates it"):
        DoctorOfCluster(settings.model_copy(update={"mw_actor_name": "never"})).namespaces()


def test_verify_says_that_no_cpu_is_free(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verify, "TASK_TIMEOUT_S", 5)

    class Busy:
        pass

    busy: Any = ray.remote(num_cpus=settings.ray_worker_cpus)(Busy)
    holder = busy.remote()
    ray.get(holder.__ray_ready__.remote(), timeout=30)
    try:
        with pytest.raises(CheckError, match="no worker had a free CPU within 5 s: wait for what runs, or raise"):
            verify.Verify(settings).submitted_job()
    finally:
        ray.kill(holder)


def test_it_says_that_no_node_offers_the_state_volume(settings: Settings) -> None:
    with pytest.raises(CheckError, match=r"no node offers the resource 'other'.*make logs S=ray-worker"):
        DoctorOfCluster(settings.model_copy(update={"state_resource": "other"})).state_is_offered()
