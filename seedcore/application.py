"""Finds what the user's application declares in `app/`."""

from importlib import import_module
from typing import Any, Final, TypeVar

from seedcore.errors import InvalidAppError

T = TypeVar("T")

PACKAGE: Final = "app"
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
    whole = f"{PACKAGE}.{module}"
    try:
        loaded = import_module(whole)
    except ModuleNotFoundError as error:
        if error.name in (PACKAGE, whole):
            return None
        raise
    value: Any = getattr(loaded, name, MISSING)
    if value is MISSING or not isinstance(value, kind):
        found = "is missing" if value is MISSING else f"is a {type(value).__name__}"
        raise InvalidAppError(
            f"{name} {found} in {PACKAGE}/{module}.py: it must be a {kind.__name__}. To have none, delete the file."
        )
    return value
