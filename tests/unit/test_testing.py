import pytest

from seedcore import MwManager


def test_a_memory_without_ray_leaves_the_engine_of_the_stack_alone(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEMORY_URL", "valkey://127.0.0.1:1")
    request.getfixturevalue("memory_without_ray")
    MwManager("organ").set_item("item", 1)
    assert MwManager("organ").get_item("item") == 1
