"""Tries whether the API can be made from the code on the disk; nothing is served.

Exit code 0 if it can, 65 if the code is broken.
"""

import importlib
import sys

from scripts.run_module import EXIT_BROKEN, where


def main() -> int:
    """Make it, and say in one line why that fails."""
    try:
        importlib.import_module("seedcore.api.app").create_app()
    except Exception as error:
        print(where(error), file=sys.stderr)
        return EXIT_BROKEN
    return 0


if __name__ == "__main__":
    sys.exit(main())
