"""Finds what the user's application declares in `app/`."""

import inspect
import re
from functools import cache
from importlib import import_module
from types import ModuleType
from typing import Any, Final, TypeVar

from seedcore.errors import InvalidAppError

T = TypeVar("T")

PACKAGE: Final = "app"
# How each variable that is looked for begins, for whoever is told that it is wrong.
EXAMPLES: Final = {
    "SINGLETONS": "[Singleton(...)]",
    "router": "APIRouter()",
    "VALUES": "[ValueType(...)]",
    "MOVED": "{'old.Name': 'new.Name'}",
}
MISSING: Final = object()


def declared(module: str, name: str, kind: type[T]) -> T | None:
    """What a file of `app/` calls `name`; None without the file, since all of `app/` may be deleted.

    Args:
        module: the file, without its suffix.
        name: of the variable in it.
        kind: what it must be.

    Raises:
        InvalidAppError: the file has no such variable, or one of another type.
        Exception: what the file itself raises when it is imported.
    """
    loaded = _load(PACKAGE, module)
    if loaded is None:
        return None
    value: Any = getattr(loaded, name, MISSING)
    if value is MISSING or not isinstance(value, kind):
        file, example = f"{PACKAGE}/{module}.py", f"`{name} = {EXAMPLES[name]}`"
        raise InvalidAppError(
            f"{file} has no `{name}`: add {example}, or delete it"
            if value is MISSING
            else f"{place_of(module, name)} must be as in {example}, not of type {type(value).__name__}"
        )
    return value


def place_of(module: str, name: str) -> str:
    """The variable, the file of `app/` and, if the file assigns it, the line, for whoever is told that it is wrong."""
    loaded = _load(PACKAGE, module)
    lines = inspect.getsource(loaded).splitlines() if loaded is not None and loaded.__file__ else []
    numbers = [number for number, line in enumerate(lines, 1) if re.match(rf"{name}\b", line)]
    return f"{name} in {PACKAGE}/{module}.py" + "".join(f" (line {number})" for number in numbers[:1])


@cache  # a file that comes later is for the processes that begin later, as it is with all code
def _load(package: str, module: str) -> ModuleType | None:
    whole = f"{package}.{module}"
    try:
        return import_module(whole)
    except ModuleNotFoundError as error:
        if error.name in (package, whole):
            return None
        raise
