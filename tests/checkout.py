"""Copies the checkout to where its files may be changed and a stack of its own may run."""

import shutil
from pathlib import Path
from typing import Final

from seedcore.settings import PROJECT_ROOT

NOT_COPIED: Final = shutil.ignore_patterns(
    ".git", ".venv", ".local", ".secrets", "tests", "__pycache__", ".*_cache", ".hypothesis"
)


def copy_checkout(folder: Path) -> None:
    """Copy all that a stack is made of, and share the virtual environment.

    Args:
        folder: where to copy to; it does not exist yet.
    """
    shutil.copytree(PROJECT_ROOT, folder, ignore=NOT_COPIED)
    (folder / ".venv").symlink_to(PROJECT_ROOT / ".venv")  # with its stamp, so that nothing is installed again
