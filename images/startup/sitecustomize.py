"""Python runs this at the start of each interpreter of the stack, and changes what Ray has no setting for.

- A plain `ray.init()` is in `RAY_NAMESPACE`. Ray gives a driver that names no namespace one without a name, in which it
  finds nobody. So the class that every driver's namespace comes from, `ray.job_config.JobConfig`, gets another default:
  auto-init, submitted jobs and all tasks and actors of theirs take theirs from it too. Who names a namespace is in it.
- What workers import of the project is what lies on their own machine.
- A worker's log has the name of a named actor, of which Ray tells the class only, and what a task or actor raises,
  which Ray tells nobody but the caller. scripts/worker_logs.py shows both.
- The error of a full disk names the knob.
- With PROFILING=1 a profiler of the same user may look into the process. A capability of the container would not reach
  it, since nobody in there is root.

Nothing of Ray is imported here, since this runs in programs that never use it.
"""

from __future__ import annotations

import importlib.machinery
import os
import sys

TYPE_CHECKING = False  # without `typing`, which takes longer to import than all else here
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import ModuleType
    from typing import Any

VARIABLE = "RAY_NAMESPACE"
PARAMETER = "ray_namespace"
PROJECT = os.path.realpath(f"{__file__}/../../..")
DISK_HINT = (
    "In this stack it is the disk of RAY_TEMP_DIR: make room there, name a folder on a larger one in .env, or raise "
    "OBJECT_STORE_BYTES and SHM_SIZE; then `make up`."
)


class _PathsElsewhere(list):  # type: ignore[type-arg]
    """What a driver adds to the path of its workers, without the project's folder: they have it in PYTHONPATH, and on
    another machine it is another folder.
    """

    def extend(self, paths: Any) -> None:
        super().extend(path for path in paths if path != PROJECT)


class _Loader:
    """Loads the module as ever, then changes it; says what is missing if its inside is not that of Ray 2.60."""

    def __init__(self, loader: Any, change: Callable[[Any], None], without: str) -> None:
        self._loader = loader
        self._change = change
        self._without = without

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        made: ModuleType | None = self._loader.create_module(spec)
        return made

    def exec_module(self, module: ModuleType) -> None:
        self._loader.exec_module(module)
        try:
            self._change(module)
        except (AttributeError, KeyError, TypeError, ValueError):
            print(
                f"seedcore: this Ray has another {module.__name__} than Ray 2.60, so {self._without}; take the Ray of "
                "requirements.lock",
                file=sys.stderr,
            )


class _Finder:
    """Finds one module, and leaves."""

    def __init__(self, name: str, change: Callable[[Any], None], without: str) -> None:
        self._name = name
        self._change = change
        self._without = without

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != self._name:
            return None
        sys.meta_path.remove(self)
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            # all that the import system asks
            spec.loader = _Loader(spec.loader, self._change, self._without)  # type: ignore[assignment]
        return spec


def _set_namespace(module: Any) -> None:
    import inspect  # late; Ray has imported it

    namespace = os.environ[VARIABLE]
    make = module.JobConfig.__init__
    if inspect.signature(make).parameters[PARAMETER].default is not None:
        raise ValueError(PARAMETER)

    def make_in_namespace(self: Any, *arguments: Any, **named: Any) -> None:
        make(self, *arguments, **named)
        if getattr(self, PARAMETER) is None:
            setattr(self, PARAMETER, namespace)
        self._py_driver_sys_path = _PathsElsewhere(self._py_driver_sys_path)

    make_in_namespace.__wrapped__ = make  # type: ignore[attr-defined]
    module.JobConfig.__init__ = make_in_namespace


def _tell_actor_name(module: Any) -> None:
    manager = module.FunctionActorManager
    load = manager.load_actor_class
    told = False

    def load_and_tell(self: Any, *arguments: Any) -> Any:
        nonlocal told
        loaded = load(self, *arguments)
        process = self._worker.core_worker
        # Whoever gets a handle of an actor loads its class as well.
        name = "" if told or process.get_actor_id().is_nil() else process.get_actor_name().decode()
        if name:  # which Ray's own line with the class follows
            told = True
            for stream in (sys.stdout, sys.stderr):
                print(f":actor_name:name={name}", file=stream, flush=True)
        return loaded

    manager.load_actor_class = load_and_tell


def _tell_errors(module: Any) -> None:
    form = module.format_error_message

    def form_and_tell(exception_message: str, task_exception: bool = False) -> str:
        formed: str = form(exception_message, task_exception)
        if task_exception:
            print(formed.rstrip(), file=sys.stderr, flush=True)
        return formed

    module.format_error_message = form_and_tell


def _name_the_knob(module: Any) -> None:
    say = module.OutOfDiskError.__str__
    module.OutOfDiskError.__str__ = lambda error: f"{say(error)}\n{DISK_HINT}"


def _may_be_traced() -> None:
    import ctypes

    # prctl(2): PR_SET_PTRACER, PR_SET_PTRACER_ANY; a kernel without Yama knows neither, and allows it anyway
    ctypes.CDLL(None).prctl(0x59616D61, ctypes.c_ulong(-1))


if os.environ.get("PROFILING", "").lower() in ("1", "t", "true", "y", "yes", "on") and sys.platform == "linux":
    _may_be_traced()
if namespace := os.environ.get(VARIABLE):
    sys.meta_path[:0] = [
        _Finder(
            "ray.job_config",
            _set_namespace,
            f"a plain ray.init() is not in {VARIABLE}={namespace}: pass namespace={namespace!r} to ray.init",
        ),
        _Finder(
            "ray._private.function_manager", _tell_actor_name, "logs have the class of an actor in place of its name"
        ),
        _Finder("ray._private.utils", _tell_errors, "logs do not have what tasks and actors raise"),
        _Finder("ray.exceptions", _name_the_knob, "the error of a full disk names no knob"),
    ]
