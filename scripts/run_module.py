"""Runs a module like `python -m`, and says in one line where our own code cannot be imported.

python -m scripts.run_module MODULE [ARGUMENTS]
"""

import importlib
import os
import runpy
import sys
import traceback
from pathlib import Path
from typing import Final

PROJECT_ROOT: Final = Path(__file__).parent.parent  # settings has it as well, but may be what is broken
SETTINGS: Final = "seedcore.settings"
TABLE: Final = "seedcore.cluster.singletons"  # imports every actor's class, so all that a user adds


def where(error: BaseException) -> str:
    """The error in one line, with the place in our code that it comes from."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{_relative(error.filename)}, line {error.lineno}: {error.msg}"
    ours = [frame for frame in traceback.extract_tb(error.__traceback__) if "/seedcore/" in frame.filename]
    place = f" ({_relative(ours[-1].filename)}, line {ours[-1].lineno})" if ours else ""
    return f"{type(error).__name__}: {error}{place}"


def _relative(filename: str) -> str:
    return os.path.relpath(filename, PROJECT_ROOT) if Path(filename).is_relative_to(PROJECT_ROOT) else filename


def _load_table() -> None:
    """Import it and make its rows, which is when mistakes in them show."""
    table = importlib.import_module(TABLE)
    settings = importlib.import_module(SETTINGS)
    try:
        known = settings.load_settings()
    except settings.SettingsError:  # the module itself says that, in its own words
        return
    table.singletons(known)


def main(argv: list[str]) -> int:
    """Run the module; only its own `sys.exit` ends this otherwise."""
    module, *arguments = argv
    try:
        _load_table()
    except Exception as error:
        print(
            f"the code on the disk cannot be used: {where(error)}. "
            "What runs goes on with the code from before; correct it, then do this again.",
            file=sys.stderr,
        )
        return 1
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
