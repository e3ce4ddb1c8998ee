from typing import Any

import pytest

from seedcore.cluster.singletons import Singleton, actor_options, singletons
from seedcore.errors import InvalidSingletonError
from seedcore.settings import load_settings
from tests.unit.conftest import SetKnobs


class Counter:
    pass


def stores(rows: tuple[Singleton, ...]) -> set[Any]:
    return {row.arguments["store"] for row in rows}


def test_each_actor_has_its_own_name_and_file(knobs: SetKnobs) -> None:
    knobs(MW_ACTOR_NAME="one", MISS_TRACKER_ACTOR_NAME="two", SHARED_CACHE_ACTOR_NAME="three")
    rows = singletons(load_settings())
    assert {row.name for row in rows} == {"one", "two", "three"}
    assert len(stores(rows)) == len(rows)


def test_namespaces_share_no_file(knobs: SetKnobs) -> None:
    knobs(RAY_NAMESPACE="first")
    first = singletons(load_settings())
    knobs(RAY_NAMESPACE="second")
    assert not stores(first) & stores(singletons(load_settings()))


def test_a_singleton_is_one_per_namespace_and_never_given_up(knobs: SetKnobs) -> None:
    knobs(RAY_NAMESPACE="here", STATE_RESOURCE="disk")
    for row in singletons(load_settings()):
        options = actor_options(row, load_settings())
        assert (options["name"], options["namespace"], options["get_if_exists"]) == (row.name, "here", True)
        assert options["lifetime"] == "detached"
        assert (options["max_restarts"], options["max_task_retries"]) == (-1, -1)
        assert options["num_cpus"] == 0
        assert list(options["resources"]) == ["disk"]


def test_a_row_may_change_its_options_but_not_those_of_others(knobs: SetKnobs) -> None:
    knobs()
    own = actor_options(Singleton("counter", Counter, options={"num_cpus": 1}), load_settings())
    other = actor_options(Singleton("other", Counter), load_settings())
    assert (own["num_cpus"], own["lifetime"]) == (1, "detached")
    assert other["num_cpus"] == 0
    assert Singleton("counter", Counter).class_name == "Counter"


class Takes:
    def __init__(self, size: int) -> None:
        self.size = size


def _local_class() -> type:
    class Local:
        pass

    return Local


@pytest.mark.parametrize(
    ("row", "why"),
    [
        (("", Counter), "its name must be a str of at least one character, not ''"),
        ((None, Counter), "not None"),
        (("counter", Counter()), "is no class; write the class itself"),
        (("counter", _local_class()), "the class Local is inside of a function"),
        (("counter", Takes), "Takes does not take {}: missing a required argument: 'size'"),
        (("counter", Takes, {"sice": 1}), "Takes does not take {'sice': 1}: "),
        (("counter", Counter, {}, {"num_cpu": 1}), "Ray does not take its options: Invalid option keyword num_cpu"),
        (
            ("counter", Counter, {}, {"num_cpus": "many"}),
            "Ray does not take its options: The type of keyword 'num_cpus'",
        ),
    ],
)
def test_a_row_that_no_actor_can_be_made_from_is_refused(row: tuple[Any, ...], why: str) -> None:
    with pytest.raises(InvalidSingletonError) as refused:
        Singleton(*row)
    assert f"the singleton {row[0]!r} is refused: " in str(refused.value)
    assert why in str(refused.value)
    assert Singleton("counter", Takes, {"size": 1}).arguments == {"size": 1}
