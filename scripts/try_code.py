"""Tries what the code on the disk would be started as; nothing is served.

    python -m scripts.try_code               whether the API can be made
    python -m scripts.try_code --singletons  whether those of the application can be born as well

Exit code 0 if so, 65 if the code is broken.
"""

import argparse
import importlib
import sys
import tempfile
from pathlib import Path

from scripts.actor_trial import try_actor
from scripts.run_module import EXIT_BROKEN, where


def main(argv: list[str]) -> int:
    """Make them, and say in a line for each why that fails."""
    parser = argparse.ArgumentParser(prog="python -m scripts.try_code", description=__doc__.partition("\n")[0])
    parser.add_argument("--singletons", action="store_true", help="try to make the application's singletons as well")
    arguments = parser.parse_args(argv)
    try:
        importlib.import_module("seedcore.api.app").create_app()
    except Exception as error:
        print(where(error), file=sys.stderr)
        return EXIT_BROKEN
    reasons = _why_unborn() if arguments.singletons else []
    for reason in reasons:
        print(reason, file=sys.stderr)
    return EXIT_BROKEN if reasons else 0


def _why_unborn() -> list[str]:
    # Late, since what is tried may be broken.
    from seedcore.cluster.singletons import singletons
    from seedcore.settings import load_settings

    own = [row.name for row in singletons(load_settings()) if not row.is_ours]
    trials = {name: try_actor(name, Path(tempfile.gettempdir())) for name in own}
    return [f"{name}: {trial.reason}" for name, trial in trials.items() if trial.reason]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
