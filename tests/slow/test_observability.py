"""The profile `observability`: Prometheus finds everything, and its alerts say what is wrong."""

import json
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import httpx
import pytest

from seedcore.settings import PROJECT_ROOT
from tests.stack.containers import containers, health, kill_for_good, only, run_in
from tests.stack.project import Project
from tests.waiting import wait_until

CONFIG = "/app/images/prometheus"
SCRAPED_S = 60.0  # some intervals of prometheus.yml
READY = "Server is ready to receive web requests."
REFERENCE = (PROJECT_ROOT / "docs/reference.md").read_text()
METRICS = re.findall(r"`(seedcore_\w+)`", REFERENCE.partition("\n## Metrics\n")[2].partition("\n## ")[0])
OWN_ACTOR = """
class Own:
    async def stats(self) -> dict[str, int]:
        return {"answers_total": 42}
"""


@pytest.fixture(scope="module")
def observed(engine: docker.DockerClient, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """A running stack with Prometheus, with logs for machines, and with an actor of the user's own."""
    knobs = {"COMPOSE_PROFILES": "observability", "LOG_FORMAT": "json", "LOG_LEVEL": "DEBUG"}
    project = Project(tmp_path_factory.mktemp("observed") / "seedcore", "docker", **knobs)
    try:
        _add_own_actor(project.folder / "seedcore")
        assert f"Prometheus http://127.0.0.1:{project.prometheus_port}" in project.make("up")
        yield project
    finally:
        project.remove()


def _add_own_actor(package: Path) -> None:
    (package / "own.py").write_text(OWN_ACTOR)
    table = package / "cluster/singletons.py"
    last = "        _with_store(settings.mw_actor_name, MwStore, settings),\n"
    code = table.read_text()
    assert last in code
    code = code.replace(last, f'{last}        Singleton("own", Own),\n')
    table.write_text(code.replace("\nfrom seedcore.", "\nfrom seedcore.own import Own\nfrom seedcore.", 1))


@pytest.fixture
def prometheus(observed: Project) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"http://127.0.0.1:{observed.prometheus_port}/api/v1") as client:
        yield client


def _query(prometheus: httpx.Client, expression: str) -> list[float]:
    """The value of each series."""
    answer = prometheus.get("/query", params={"query": expression}).raise_for_status().json()
    return [float(series["value"][1]) for series in answer["data"]["result"]]


def _firing(prometheus: httpx.Client) -> set[tuple[str, str | None]]:
    """Name and actor of each alert."""
    alerts: list[Any] = prometheus.get("/alerts").raise_for_status().json()["data"]["alerts"]
    return {
        (alert["labels"]["alertname"], alert["labels"].get("actor")) for alert in alerts if alert["state"] == "firing"
    }


def test_promtool_accepts_the_configuration_and_the_rules_do_what_their_tests_say(
    engine: docker.DockerClient, observed: Project
) -> None:
    container = only(engine, observed, "prometheus")
    run_in(container, "promtool", "check", "config", f"{CONFIG}/prometheus.yml")
    run_in(container, "promtool", "check", "rules", f"{CONFIG}/rules.yml")
    said = engine.containers.run(
        container.image,
        ["test", "rules", "/rules/rules_test.yml"],
        entrypoint=["promtool"],
        volumes={str(observed.folder / "images/prometheus"): {"bind": "/rules", "mode": "ro"}},
        remove=True,
        network_mode="none",
        stderr=True,
    )
    assert b"SUCCESS" in said


def test_locked_down(engine: docker.DockerClient, observed: Project) -> None:
    container = only(engine, observed, "prometheus")
    assert run_in(container, "id", "-u").strip() not in ("", "0")
    assert "CapEff:\t0000000000000000" in run_in(container, "cat", "/proc/1/status")
    assert container.exec_run(["touch", "/app/written"])[0] != 0


def test_all_targets_are_up(prometheus: httpx.Client) -> None:
    def targets() -> dict[tuple[str, str | None], str]:
        found: list[Any] = prometheus.get("/targets").raise_for_status().json()["data"]["activeTargets"]
        return {(one["labels"]["job"], one["labels"].get("service")): one["health"] for one in found}

    wait_until(lambda: set(targets().values()) == {"up"} and len(targets()) == 4, SCRAPED_S)
    assert set(targets()) == {
        ("seedcore-api", None),
        ("ray", "ray-head"),
        ("ray", "ray-worker"),
        ("ray", "seedcore-api"),
    }


def test_every_number_of_the_reference_is_there(observed: Project, prometheus: httpx.Client) -> None:
    for number in range(5):
        observed.put("observed", str(number), number)
    assert observed.get("observed", "0") == 0
    assert observed.api.get("/organs/observed/items/none").status_code == 404
    wait_until(lambda: _query(prometheus, 'seedcore_actor_items{actor="mw"}') == [5], SCRAPED_S)
    assert METRICS
    for metric in set(METRICS) - {"seedcore_actor_busy_seconds"}:  # there only while one is busy
        assert _query(prometheus, f'{{__name__=~"{metric}(_count)?"}}'), metric
    assert _query(prometheus, 'seedcore_actor_writes_total{actor="mw"}')[0] >= 5
    assert _query(prometheus, 'seedcore_actor_hits_total{actor="mw"}')[0] >= 1
    assert _query(prometheus, 'seedcore_actor_answers_total{actor="own"}') == [42]
    assert _query(prometheus, 'sum(seedcore_http_request_seconds_count{method="PUT", status="200"})') == [5]


def test_an_actor_that_is_gone_raises_an_alert_until_it_is_back(
    engine: docker.DockerClient, observed: Project, prometheus: httpx.Client
) -> None:
    wait_until(lambda: _firing(prometheus) == set(), 2 * SCRAPED_S)
    kill_for_good(only(engine, observed, "seedcore-api"), "miss_tracker")
    wait_until(lambda: ("ActorDown", "miss_tracker") in _firing(prometheus), 2 * SCRAPED_S)
    assert _firing(prometheus) == {("ActorDown", "miss_tracker")}
    observed.make("up")  # though Docker last looked at the API before its bootstrap
    wait_until(lambda: _firing(prometheus) == set(), 2 * SCRAPED_S)


def test_each_request_is_a_json_record(observed: Project) -> None:
    observed.put("logged", "plan", 1)
    observed.get("logged", "plan")
    lines = observed.make("logs", "S=seedcore-api", "FOLLOW=0").splitlines()
    records = [json.loads(line[line.index("{") :]) for line in lines if '"organ": "logged"' in line]
    put, get = (record for record in records if record.get("item") == "plan")
    assert (put["method"], get["method"]) == ("PUT", "GET")
    for record in (put, get):
        assert (record["namespace"], record["status"], record["levelname"]) == ("seedcore-dev", 200, "DEBUG")
        assert record["duration_s"] > 0


def test_the_verbs_know_it_also_when_it_was_started_by_hand(engine: docker.DockerClient, observed: Project) -> None:
    observed.make("up", COMPOSE_PROFILES="")  # doctor tells of a profile that the stack was started with
    # After an actor that was gone its next check is to come; Compose does not wait for one.
    api = only(engine, observed, "seedcore-api")
    wait_until(lambda: health(api) == "healthy")
    only(engine, observed, "prometheus").remove(force=True)
    by_hand = observed.run("docker", "compose", "--profile", "observability", "up", "-d", "--wait", COMPOSE_PROFILES="")
    assert by_hand.returncode == 0, by_hand.stdout
    assert "prometheus" in observed.make("ps", COMPOSE_PROFILES="")
    assert "❌" not in observed.make("doctor", COMPOSE_PROFILES="")
    said = observed.make("logs", "S=prometheus", "FOLLOW=0", COMPOSE_PROFILES="")
    assert READY in said
    (bundle,) = re.findall(r"are in (\S+\.tar\.gz)", observed.make("support-bundle", COMPOSE_PROFILES=""))
    with tarfile.open(observed.folder / bundle) as archive:
        (log,) = (archive.extractfile(entry) for entry in archive if entry.name.endswith("/logs/prometheus.log"))
        assert log is not None
        assert READY.encode() in log.read()
    observed.make("up", COMPOSE_PROFILES="")
    assert len(containers(engine, observed, "prometheus")) == 1
    observed.make("clean", "YES=1", COMPOSE_PROFILES="")
    assert containers(engine, observed, "prometheus") == []
    label = f"com.docker.compose.project={observed.name}"
    assert engine.volumes.list(filters={"label": label}) == []
    assert engine.networks.list(filters={"label": label}) == []
