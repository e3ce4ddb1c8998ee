"""The rooms of the house: each has one sentence, imports point down only, and a door is narrow."""

import ast
import importlib
import inspect
import re
import subprocess
import sys
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import pytest

import seedcore
from seedcore import errors
from seedcore.settings import PROJECT_ROOT

# Which room imports which, from the top down. docs/architecture.md draws these arrows.
ARROWS: dict[str, set[str]] = {
    "benchmarks": {
        "scripts.host",
        "seedcore.cluster",
        "seedcore.memory",
        "seedcore.api",
        "seedcore.store.values",
        "seedcore.store.valkey",
    },
    "scripts": {"seedcore.memory", "seedcore.cluster", "seedcore.store.recovery", "seedcore.store.files"},
    "scripts.host": {"scripts"},
    "seedcore.api": {"seedcore.memory", "seedcore.cluster", "seedcore.store", "seedcore.store.values"},
    "seedcore.memory": {
        "seedcore.cluster",
        "seedcore.actors",
        "seedcore.store",
        "seedcore.store.sqlite",
        "seedcore.store.valkey",
        "seedcore.store.files",
        "seedcore.store.values",
    },
    "seedcore.cluster": {"seedcore.actors", "seedcore.store"},
    "seedcore.actors": {
        "seedcore.store",
        "seedcore.store.sqlite",
        "seedcore.store.valkey",
        "seedcore.store.files",
        "seedcore.store.values",
    },
    "seedcore.store.valkey": {"seedcore.store", "seedcore.store.values"},
    "seedcore.store.sqlite": {
        "seedcore.store",
        "seedcore.store.recovery",
        "seedcore.store.files",
        "seedcore.store.values",
    },
    "seedcore.store.recovery": {"seedcore.store.files"},
    "seedcore.store.files": {"seedcore.store.values"},
    "seedcore.store": {"seedcore.store.values"},
    "seedcore.store.values": set(),
}
# What each room stands on, in this order as well.
GROUND = ("seedcore.logs", "seedcore.ray_environment", "seedcore.gathered_calls", "seedcore.event_loop",
          "seedcore.application", "seedcore.settings", "seedcore.memory_url", "seedcore.code_version",
          "seedcore.errors")  # fmt: skip
FACE = ("seedcore", "seedcore.bootstrap", "seedcore.testing")  # import what is public, for others
MAX_DOOR = 10  # names that other rooms import from a room
NO_RAY = ("seedcore.actors", "seedcore.store", "seedcore.store.sqlite", "seedcore.store.valkey",
          "seedcore.store.values", "seedcore.store.recovery", "seedcore.store.files")  # fmt: skip


def module_name(path: Path) -> str:
    parts = path.relative_to(PROJECT_ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {
    module_name(path): path
    for package in ("seedcore", "scripts", "benchmarks")
    for path in (PROJECT_ROOT / package).rglob("*.py")
}


def room_of(module: str) -> str | None:
    """The room that a module stands in; None for the ground, the face, and an actor of the user's own."""
    rooms = (room for room in ARROWS if module == room or module.startswith(f"{room}."))
    return max(rooms, key=len, default=None)


@cache
def imported_names(module: str) -> frozenset[tuple[str, str]]:
    """Our modules that a module imports, wherever in it the import stands, each with a name that it takes."""
    found: set[tuple[str, str]] = set()
    for node in ast.walk(ast.parse(MODULES[module].read_text())):
        if isinstance(node, ast.Import):
            found.update((alias.name, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} imports relatively, which this test does not follow"
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                found.add((whole, alias.name) if whole in MODULES else (str(node.module), alias.name))
    return frozenset((name, taken) for name, taken in found if name in MODULES)


def imports(module: str) -> set[str]:
    return {name for name, _ in imported_names(module)}


def top_level_packages(module: str) -> set[str]:
    """Of everything that a module imports, ours or not."""
    nodes = list(ast.walk(ast.parse(MODULES[module].read_text())))
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [str(node.module) for node in nodes if isinstance(node, ast.ImportFrom)]
    return {name.partition(".")[0] for name in names}


def modules_in(room: str) -> list[str]:
    return [module for module in MODULES if room_of(module) == room]


@pytest.mark.parametrize("room", ARROWS)
def test_a_room_says_in_one_sentence_what_it_is(room: str) -> None:
    sentence = inspect.getdoc(importlib.import_module(room)) or ""
    assert re.fullmatch(r"[^\n]+[a-z]\.", sentence), sentence
    assert modules_in(room)


def test_the_table_has_no_circle() -> None:
    assert set(TopologicalSorter(ARROWS).static_order()) == set(ARROWS)


def test_the_picture_has_the_rooms_and_arrows_of_the_table() -> None:
    picture = (PROJECT_ROOT / "docs/architecture.md").read_text().split("```mermaid\n")[2].partition("```")[0]
    names = {
        node: room.replace("/", ".") for node, room in re.findall(r'^ +(\w+)\["([\w/]+)<br>', picture, re.MULTILINE)
    }
    drawn: dict[str, set[str]] = {room: set() for room in names.values()}
    for above, below in re.findall(r"^ +(\w+) --> (.+)$", picture, re.MULTILINE):
        drawn[names[above]] |= {names[node] for node in below.split(" & ")}
    assert drawn == {room: arrows for room, arrows in ARROWS.items() if room != "benchmarks"}


@pytest.mark.parametrize("module", sorted(MODULES))
def test_an_import_follows_an_arrow(module: str) -> None:
    room = room_of(module)
    if room is None:
        return
    reached = {other for name in imports(module) if (other := room_of(name)) is not None}
    assert reached - {room} <= ARROWS[room]


@pytest.mark.parametrize("room", ARROWS)
def test_each_arrow_is_there(room: str) -> None:
    reached = {room_of(name) for module in modules_in(room) for name in imports(module)}
    assert ARROWS[room] <= reached


@pytest.mark.parametrize("module", GROUND)
def test_the_ground_imports_only_what_lies_deeper(module: str) -> None:
    assert imports(module) - {"seedcore"} <= set(GROUND[GROUND.index(module) + 1 :])


def test_nobody_imports_the_face_but_for_what_it_is_itself() -> None:
    taken = {
        (module, name)
        for module in MODULES
        for imported, name in imported_names(module)
        if imported in FACE[:2] and module not in FACE and name not in ("__version__", *MODULES)
    }
    assert taken == set()


@pytest.mark.parametrize("room", [room for room in ARROWS if room.startswith("seedcore.")])
def test_a_door_is_narrow(room: str) -> None:
    door = {
        name
        for module in MODULES
        if room_of(module) not in (room, None) and str(module).startswith("seedcore.")
        for imported, name in imported_names(module)
        if room_of(imported) == room
    }
    assert len(door) <= MAX_DOOR, sorted(door)


@pytest.mark.parametrize("module", sorted(module for room in NO_RAY for module in modules_in(room)))
def test_what_runs_in_an_actor_needs_no_ray(module: str) -> None:
    assert "ray" not in top_level_packages(module)


def test_within_a_room_no_modules_import_each_other_in_a_circle() -> None:
    order = list(TopologicalSorter({module: imports(module) - {"seedcore"} for module in MODULES}).static_order())
    assert set(order) == set(MODULES)


# The face


def test_the_face_is_what_is_public() -> None:
    ours = {
        name for name, value in vars(errors).items() if isinstance(value, type) and value.__module__ == errors.__name__
    }
    assert set(seedcore.__all__) == {"MwManager", "Singleton", "ValueType", "bootstrap_actors", "get_singleton"} | ours
    for name in seedcore.__all__:
        assert getattr(seedcore, name).__name__ == name


def test_the_face_imports_nothing_before_it_is_asked_for() -> None:
    program = (
        "import sys, seedcore\n"
        "before = {name for name in sys.modules if name.startswith('seedcore')} | ({'ray'} & set(sys.modules))\n"
        "from seedcore import SeedCoreError\n"
        "print(sorted(before), 'ray' in sys.modules)\n"
        "try:\n"
        "    seedcore.nothing\n"
        "except AttributeError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=PROJECT_ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [
        "['seedcore', 'seedcore.code_version'] False",
        "module 'seedcore' has no attribute 'nothing'",
    ]


# What people have typed until now keeps working.
KEPT_IMPORTS = {
    "seedcore.bootstrap": ("bootstrap_actors", "get_mw_store", "get_miss_tracker", "get_shared_cache", "get_singleton"),
    "seedcore.memory.working_memory": ("MwManager",),
}
KEPT_COMMANDS = ("scripts.monitor_actors", "scripts.verify", "seedcore.bootstrap")


@pytest.mark.parametrize(("module", "names"), KEPT_IMPORTS.items())
def test_an_import_path_that_is_promised_works(module: str, names: tuple[str, ...]) -> None:
    loaded: Any = importlib.import_module(module)
    for name in names:
        assert callable(getattr(loaded, name))


@pytest.mark.parametrize("module", KEPT_COMMANDS)
def test_a_command_that_is_promised_is_there(module: str) -> None:
    path = MODULES[module]
    assert 'if __name__ == "__main__":\n    sys.exit(main(' in path.read_text()
