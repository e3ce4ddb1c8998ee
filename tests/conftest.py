"""Says which tests must not run side by side, for `make test`, which runs two at a time."""

import pytest


@pytest.hookimpl(tryfirst=True)  # xdist reads the groups in this hook as well
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep those together that share a cluster or a stack; each other test may run anywhere."""
    for item in items:
        module, _, _ = item.nodeid.partition("::")
        if module.startswith("tests/cluster/"):
            item.add_marker(pytest.mark.xdist_group("cluster"))
        elif module.startswith("tests/stack/"):
            runtime = _runtime(item)
            item.add_marker(pytest.mark.xdist_group(f"{module}-{runtime}" if runtime else module))


def _runtime(item: pytest.Item) -> object:
    call = getattr(item, "callspec", None)
    return call.params.get("stack") if call else None
