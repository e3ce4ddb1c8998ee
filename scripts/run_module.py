"""Runs a module like `python -m`, and says in one line where our own code cannot be imported.

python -m scripts.run_module MODULE [ARGUMENTS]
"""

import importlib
import importlib.util
import os
import runpy
import sys
import traceback
from pathlib import Path
from typing import Final

PROJECT_ROOT: Final = Path(__file__).parent.parent  # settings has it as well, but may be what is broken
SETTINGS: Final = "seedcore.settings"
TABLE: Final = "seedcore.cluster.singletons"  # imports every actor's class
ERRORS: Final = "seedcore.errors"
APPLICATION: Final = "seedcore.application"
VALUE_TYPES: Final = "seedcore.store.values.value_types"
EXIT_BROKEN: Final = 65  # sysexits.h: the input, which is the code, was wrong
OURS: Final = ("app", "seedcore")  # whose mistakes are told; the user's first
IF_PACKAGE: Final = "If it is a package: a line in app/requirements.txt, `make lock`, then `make up`"


def where(error: BaseException) -> str:
    """The error in one line, with the place in our code that it comes from."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{_relative(error.filename)}, line {error.lineno}: {error.msg}"
    said = f"{type(error).__name__}: {str(error).rstrip('.')}"
    remedy = f". {IF_PACKAGE}" if _is_foreign(error) else ""
    frames = traceback.extract_tb(error.__traceback__)
    is_explained = type(error).__module__ == ERRORS  # by its message; where it was raised tells nothing
    for folder in OURS[:1] if is_explained else OURS:
        ours = [frame for frame in frames if Path(frame.filename).is_relative_to(PROJECT_ROOT / folder)]
        if ours:
            return f"{said} ({_relative(ours[-1].filename)}, line {ours[-1].lineno}){remedy}"
    return f"{said}{remedy}"


def _is_foreign(error: BaseException) -> bool:
    """Whether something is missing that is no module of ours."""
    return isinstance(error, ModuleNotFoundError) and str(error.name).partition(".")[0] not in (*OURS, "scripts")


def _relative(filename: str) -> str:
    return os.path.relpath(filename, PROJECT_ROOT) if Path(filename).is_relative_to(PROJECT_ROOT) else filename


def _load_code() -> None:
    """Import what the services import of the application, and make the rows: that is when mistakes show."""
    table = importlib.import_module(TABLE)
    settings = importlib.import_module(SETTINGS)
    application = importlib.import_module(APPLICATION)
    application.declared("routes", "router", object)
    importlib.import_module(VALUE_TYPES).table()
    try:
        known = settings.load_settings()
    except settings.SettingsError:  # the module itself says that, in its own words
        return
    table.singletons(known)


def _exists(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # the package that it would be in
        return False


def main(argv: list[str]) -> int:
    """Run the module; only its own `sys.exit` ends this otherwise."""
    module, *arguments = argv
    try:
        _load_code()
    except Exception as error:
        print(
            f"the code on the disk cannot be used: {where(error)}. "
            "Nothing was changed by this; correct it, then do it again.",
            file=sys.stderr,
        )
        return EXIT_BROKEN
    if not _exists(module):
        wanted = module.removesuffix(".py").replace("/", ".")
        path = f"{wanted.replace('.', '/')}.py"
        print(f"there is no module {module}. M={wanted} would be the file {path}.", file=sys.stderr)
        return 1
    sys.argv = [module, *arguments]
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except ModuleNotFoundError as error:
        if _is_foreign(error):
            error.add_note(IF_PACKAGE)
        raise
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
