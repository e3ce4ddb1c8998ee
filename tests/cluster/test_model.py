"""MwManager against a plain model, by random operations, with actors dying in between."""

from typing import Any, Final
from uuid import uuid4

import pytest
import ray
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from seedcore.cluster.bootstrap import get_mw_store, get_shared_cache
from seedcore.memory.working_memory import MwManager

ORGANS: Final = ("first", "second")
NAMES: Final = ("a", "b", "c", "ü" * 20)
STEPS_BETWEEN_RESTARTS: Final = 8  # each takes a second

organs = st.sampled_from(ORGANS)
names = st.sampled_from(NAMES)
FEW_LONG_RUNS: Final = hypothesis_settings(
    max_examples=5, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)
values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


class WorkingMemory(RuleBasedStateMachine):
    """What two organs and everybody remember, in dicts, beside the real thing."""

    def __init__(self) -> None:
        super().__init__()
        self.prefix = uuid4().hex[:8]
        self.real = {organ: MwManager(f"{self.prefix}-{organ}") for organ in ORGANS}
        self.own: dict[str, dict[str, Any]] = {organ: {} for organ in ORGANS}
        self.shared: dict[str, Any] = {}
        self.steps_since_restart = 0

    def id_of(self, name: str) -> str:
        return f"{self.prefix}-{name}"  # the shared items and the misses are everybody's

    @rule(organ=organs, name=names, value=values)
    def set_item(self, organ: str, name: str, value: Any) -> None:
        self.real[organ].set_item(self.id_of(name), value)
        self.own[organ][name] = value

    @rule(organ=organs, items=st.dictionaries(names, values))
    def set_items(self, organ: str, items: dict[str, Any]) -> None:
        self.real[organ].set_items({self.id_of(name): value for name, value in items.items()})
        self.own[organ].update(items)

    @rule(organ=organs, name=names, value=values)
    def set_global_item(self, organ: str, name: str, value: Any) -> None:
        self.real[organ].set_global_item(self.id_of(name), value)
        self.shared[name] = value

    @rule(organ=organs, name=names)
    def delete_item(self, organ: str, name: str) -> None:
        assert self.real[organ].delete_item(self.id_of(name)) is (name in self.own[organ])
        self.own[organ].pop(name, None)

    @rule(organ=organs, name=names)
    def delete_global_item(self, organ: str, name: str) -> None:
        assert self.real[organ].delete_global_item(self.id_of(name)) is (name in self.shared)
        self.shared.pop(name, None)

    @precondition(lambda self: self.steps_since_restart >= STEPS_BETWEEN_RESTARTS)
    @rule(get=st.sampled_from([get_mw_store, get_shared_cache]))
    def restart(self, get: Any) -> None:
        ray.kill(get(), no_restart=False)
        self.steps_since_restart = 0

    @invariant()
    def every_organ_sees_what_the_model_has(self) -> None:
        self.steps_since_restart += 1
        for organ in ORGANS:
            expected = {self.id_of(name): value for name, value in {**self.shared, **self.own[organ]}.items()}
            assert self.real[organ].get_items([self.id_of(name) for name in NAMES]) == expected


@pytest.mark.usefixtures("engine", "settings")
def test_working_memory_behaves_as_its_model() -> None:
    run_state_machine_as_test(WorkingMemory, settings=FEW_LONG_RUNS)
