"""The classes of stored values, which are stored by their names and found by them in whichever process reads."""

import sys
from functools import cache
from importlib import import_module
from pkgutil import resolve_name
from typing import Any, Final

from seedcore.application import declared
from seedcore.errors import InvalidValueError

# What a process calls the program that it runs, and a child of multiprocessing that of its parent.
PROGRAMS: Final = frozenset({"__main__", "__mp_main__"})


def name_of(cls: type, kind: str) -> tuple[str, str]:
    """The module of a class and its name there, by which every process can find it.

    Args:
        cls: which.
        kind: what it is, for the message: `a dataclass`.

    Raises:
        InvalidValueError: other processes would not find it, or find another one.
    """
    module, name = cls.__module__, cls.__qualname__
    if "<locals>" in name:
        problem = "it is made by a function, where no other process finds it"
    elif module in PROGRAMS or getattr(sys.modules.get(module), "__spec__", None) is None:
        problem = f"it stands in {module}, the program itself, which no other process can import"
    elif find(module, name) is not cls:
        problem = f"{module} has none of this name, or another one"
    else:
        return module, name
    raise InvalidValueError(
        f"cannot keep a {name}: {problem}. Let {kind} stand at the top level of a module that the program imports, "
        "such as app/plans.py"
    )


def find(module: str, name: str) -> Any:
    """What a module has under a name, or the application has moved from there; None if there is nothing."""
    moved = _moved().get(f"{module}.{name}")
    try:
        if moved is not None:
            return resolve_name(moved)
        found: Any = sys.modules.get(module) or import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError):
        return None
    return found


@cache
def _moved() -> dict[str, str]:
    """The new name of each class that the application has moved since values of it were stored."""
    return declared("moved", "MOVED", dict) or {}
