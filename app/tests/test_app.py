"""Tests of the application; the fixtures are those of `seedcore.testing`."""

from typing import Any

import httpx
import pytest
import ray

from app.actors import Visits
from app.jobs import primes
from seedcore import MwManager


@pytest.mark.usefixtures("memory_without_ray")
def test_visits_are_counted_and_remembered() -> None:
    visits = Visits()
    assert [visits.add("start"), visits.add("start"), visits.add("other")] == [1, 2, 1]
    assert Visits().counts() == {"start": 2, "other": 1}  # as another process would find them


def test_a_killed_actor_remembers_what_it_counted(singletons: dict[str, Any]) -> None:
    visits = singletons["visits"]
    assert ray.get(visits.add.remote("start")) == 1
    ray.kill(visits, no_restart=False)
    assert ray.get(visits.counts.remote()) == {"start": 1}


def test_the_routes(api: httpx.Client) -> None:
    assert api.post("/visits/start").json() == 1
    assert api.post("/visits/start").json() == 2
    assert api.get("/visits").json() == {"start": 2}


@pytest.mark.usefixtures("singletons")
def test_the_job_counts_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert primes.main(600_000) == 49_098
    assert len(MwManager("primes").get_items(["0-250000", "250000-500000", "500000-600000"])) == 3
    assert primes.main(600_000) == 49_098
    assert "3 chunks were known already" in capsys.readouterr().out
