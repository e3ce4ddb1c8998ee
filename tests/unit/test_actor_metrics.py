import math

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily

from seedcore.api.actor_metrics import metric_name, numbers_in
from seedcore.api.metrics import ActorMetrics
from seedcore.cluster.status import ActorStatus


@pytest.mark.parametrize(
    ("number", "name"),
    [("items", "seedcore_actor_items"), ("share of 1", "seedcore_actor_share_of_1"), ("ä-b", "seedcore_actor___b")],
)
def test_a_number_of_any_name_has_a_metric(number: str, name: str) -> None:
    assert metric_name(number) == name


def test_only_numbers_are_metrics() -> None:
    assert numbers_in({"items": 2, "share": 0.5, "open": True, "name": "mw", "none": None, "list": [1]}) == {
        "items": 2.0,
        "share": 0.5,
        "open": 1.0,
    }


def test_a_number_that_no_float_holds_is_one_all_the_same() -> None:
    assert numbers_in({"least": -(10**400), "most": 10**400}) == {"least": -math.inf, "most": math.inf}


def test_what_only_grows_is_a_counter() -> None:
    stats = {"items": 1, "hits": 2, "answers_total": 3}
    found = {
        family.name: family
        for family in ActorMetrics([ActorStatus("own", "Own", running=True, restarts=4, stats=stats)]).collect()
    }
    types = {name: type(family) for name, family in found.items()}
    assert types == {
        "seedcore_actor_up": GaugeMetricFamily,
        "seedcore_actor_items": GaugeMetricFamily,
        "seedcore_actor_hits": CounterMetricFamily,
        "seedcore_actor_answers": CounterMetricFamily,
        "seedcore_actor_restarts": CounterMetricFamily,
    }
    samples = {sample.name: sample.value for family in found.values() for sample in family.samples}
    assert samples == {
        "seedcore_actor_up": 1,
        "seedcore_actor_items": 1,
        "seedcore_actor_hits_total": 2,
        "seedcore_actor_answers_total": 3,
        "seedcore_actor_restarts_total": 4,
    }


def test_numbers_of_one_actor_that_make_one_metric_are_told_once() -> None:
    stats = {"a-b": 1, "a_b": 2, "restarts_total": 7, "jobs": 3, "jobs_total": 100}
    status = ActorStatus("own", "Own", running=True, restarts=4, stats=stats)
    registry = CollectorRegistry()
    registry.register(ActorMetrics([status]))
    told = [line for line in generate_latest(registry).decode().splitlines() if not line.startswith("#")]
    assert sorted(told) == [
        'seedcore_actor_a_b{actor="own"} 2.0',
        'seedcore_actor_jobs_total{actor="own"} 100.0',
        'seedcore_actor_jobs{actor="own"} 3.0',
        'seedcore_actor_restarts_total{actor="own"} 4.0',
        'seedcore_actor_up{actor="own"} 1.0',
    ]


def test_an_actor_cannot_claim_what_is_known_of_it() -> None:
    status = ActorStatus("own", "Own", running=False, stats={"up": 7})
    (family,) = ActorMetrics([status]).collect()
    assert [sample.value for sample in family.samples] == [0]
