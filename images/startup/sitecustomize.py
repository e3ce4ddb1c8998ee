"""Python runs this at the start of each interpreter of the stack: a plain `ray.init()` is in `RAY_NAMESPACE`.

Ray gives a driver that names no namespace one without a name, in which it finds nobody, and has no variable for it. So
the class that every driver's namespace comes from, `ray.job_config.JobConfig`, gets another default once somebody
imports it: auto-init, submitted jobs and all tasks and actors of theirs take theirs from it too. Who names a namespace
is in that one. Nothing of Ray is imported here, since this runs in programs that never use it.
"""

from __future__ import annotations

import importlib.machinery
import os
import sys

TYPE_CHECKING = False  # without `typing`, which takes longer to import than all else here
if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType
    from typing import Any

MODULE = "ray.job_config"
VARIABLE = "RAY_NAMESPACE"
PARAMETER = "ray_namespace"


class _Loader:
    """Loads the module as ever, then changes the default."""

    def __init__(self, loader: Any) -> None:
        self._loader = loader

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        made: ModuleType | None = self._loader.create_module(spec)
        return made

    def exec_module(self, module: ModuleType) -> None:
        self._loader.exec_module(module)
        _set_default(module, os.environ[VARIABLE])


class _Finder:
    """Finds the one module, and leaves."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != MODULE:
            return None
        sys.meta_path.remove(self)
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader)  # type: ignore[assignment]  # all that the import system asks
        return spec


def _set_default(module: Any, namespace: str) -> None:
    import inspect  # late; Ray has imported it

    try:
        make = module.JobConfig.__init__
        is_known = inspect.signature(make).parameters[PARAMETER].default is None
    except (AttributeError, KeyError, ValueError):
        is_known = False
    if not is_known:
        print(
            f"seedcore: this Ray has another {MODULE}.JobConfig than Ray 2.60, so a plain ray.init() is not in "
            f"{VARIABLE}={namespace}: pass namespace={namespace!r} to ray.init, or take the Ray of requirements.lock",
            file=sys.stderr,
        )
        return

    def make_in_namespace(self: Any, *arguments: Any, **named: Any) -> None:
        make(self, *arguments, **named)
        if getattr(self, PARAMETER) is None:
            setattr(self, PARAMETER, namespace)

    make_in_namespace.__wrapped__ = make  # type: ignore[attr-defined]
    module.JobConfig.__init__ = make_in_namespace


if os.environ.get(VARIABLE):
    sys.meta_path.insert(0, _Finder())
