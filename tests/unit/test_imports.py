"""Which module may import which: downwards only, in no circle."""

import ast
from collections.abc import Iterable
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from seedcore.settings import PROJECT_ROOT

PACKAGES = ("seedcore", "scripts", "benchmarks")
TOP = ("seedcore.api", "scripts")
ACTORS = ("seedcore.actors.mw_store", "seedcore.actors.shared_cache", "seedcore.actors.miss_tracker")


def module_name(path: Path) -> str:
    parts = path.relative_to(PROJECT_ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for package in PACKAGES for path in (PROJECT_ROOT / package).rglob("*.py")}


def is_in(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")


@cache
def imports(module: str) -> frozenset[str]:
    """Our modules that a module imports by itself, wherever in it the import stands."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(MODULES[module].read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} imports relatively, which this test does not follow"
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                found.add(whole if whole in MODULES else str(node.module))
    return frozenset(name for name in found if name in MODULES)


@cache
def all_imports(module: str) -> frozenset[str]:
    """Our modules that are loaded when this one is, itself not among them."""
    seen: set[str] = set()
    waiting = [module]
    while waiting:
        for imported in imports(waiting.pop()):
            # The packages around a module are loaded before it.
            parts = imported.split(".")
            loaded = {".".join(parts[:length]) for length in range(1, len(parts) + 1)} & set(MODULES)
            waiting += loaded - seen
            seen |= loaded
    return frozenset(seen - {module})


def those_in(modules: Iterable[str], *packages: str) -> list[str]:
    return sorted(module for module in modules if any(is_in(module, package) for package in packages))


def test_all_modules_were_found() -> None:
    for module in (*ACTORS, "seedcore", "seedcore.settings", "seedcore.api.app", "scripts.host.stack"):
        assert module in MODULES
    assert "seedcore.store.codec" in imports("seedcore.memory.working_memory")


@pytest.mark.parametrize("module", ["seedcore.settings", "seedcore.errors"])
def test_the_ground_floor_imports_nothing_of_ours(module: str) -> None:
    assert all_imports(module) <= {"seedcore"}


def test_cluster_stands_on_settings_and_errors_only() -> None:
    assert all_imports("seedcore.cluster.connection") <= {
        "seedcore",
        "seedcore.code_version",
        "seedcore.settings",
        "seedcore.errors",
        "seedcore.cluster.ray_polling",
    }


@pytest.mark.parametrize("actor", ACTORS)
def test_an_actor_loads_neither_the_cluster_nor_what_stands_on_it(actor: str) -> None:
    above = (
        "seedcore.cluster.connection",
        "seedcore.cluster.bootstrap",
        "seedcore.cluster.singletons",
        "seedcore.cluster.actor_client",
        *TOP,
    )
    assert those_in(all_imports(actor), *above) == []


@pytest.mark.parametrize("actor", ACTORS)
def test_an_actor_needs_no_ray(actor: str) -> None:
    for module in (actor, *all_imports(actor)):
        names = {
            name.partition(".")[0]
            for node in ast.walk(ast.parse(MODULES[module].read_text()))
            if isinstance(node, ast.Import | ast.ImportFrom)
            for name in ([alias.name for alias in node.names] if isinstance(node, ast.Import) else [str(node.module)])
        }
        assert "ray" not in names, module


@pytest.mark.parametrize("module", sorted(module for module in MODULES if not is_in(module, "seedcore.api")))
def test_nobody_but_the_api_imports_the_api(module: str) -> None:
    assert those_in(imports(module), "seedcore.api") == []


@pytest.mark.parametrize("module", sorted(module for module in MODULES if is_in(module, "seedcore")))
def test_nothing_of_seedcore_imports_a_script(module: str) -> None:
    assert those_in(imports(module), "scripts") == []


def test_no_modules_import_each_other_in_a_circle() -> None:
    sorter = TopologicalSorter({module: imports(module) for module in MODULES})
    try:
        order = list(sorter.static_order())
    except CycleError as error:
        pytest.fail(f"a circle: {' imports '.join(error.args[1])}")
    assert set(order) == set(MODULES)
