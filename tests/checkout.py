"""Copies the checkout to where its files may be changed and a stack of its own may run."""

import shutil
from pathlib import Path
from typing import Final

from seedcore.settings import PROJECT_ROOT

NOT_COPIED: Final = shutil.ignore_patterns(
    "app",
    ".env.local",
    "compose.override.yaml",
    "Makefile.local",  # the user's own
    ".git",
    ".venv",
    ".local",
    ".secrets",
    "tests",
    "__pycache__",
    ".*_cache",
    ".hypothesis",
)


WITHOUT_APP: Final = PROJECT_ROOT / "tests" / "without_app"  # on the path of a process, it hides `app/`
APP_LOCK: Final = "app/requirements.lock"


def copy_checkout(folder: Path) -> None:
    """Copy all of ours that a stack is made of, with an empty application, and share the virtual environment.

    Args:
        folder: where to copy to; it does not exist yet.
    """
    shutil.copytree(PROJECT_ROOT, folder, ignore=NOT_COPIED)
    (folder / "app").mkdir()
    if (PROJECT_ROOT / APP_LOCK).exists():  # else the virtual environment would be made for another one
        shutil.copy(PROJECT_ROOT / APP_LOCK, folder / APP_LOCK)
    (folder / ".venv").symlink_to(PROJECT_ROOT / ".venv")  # with its stamp, so that nothing is installed again


def restore_checkout(folder: Path) -> bool:
    """Give a copy the package of the checkout and an empty application again; whether it had others.

    Args:
        folder: the copy.
    """
    own = [path for path in (folder / "app").iterdir() if path != folder / APP_LOCK]
    (folder / ".env.local").unlink(missing_ok=True)
    for path in own:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    there = _sources(folder)
    for path in there - _sources(PROJECT_ROOT):
        (folder / path).unlink()
    changed = [path for path in _sources(PROJECT_ROOT) if path not in there or _differs(folder, path)]
    for path in changed:
        shutil.copyfile(PROJECT_ROOT / path, folder / path)
    return bool(own) or bool(changed) or there != _sources(folder)


def _sources(root: Path) -> set[Path]:
    return {path.relative_to(root) for path in (root / "seedcore").rglob("*.py")}


def _differs(folder: Path, path: Path) -> bool:
    return (folder / path).read_bytes() != (PROJECT_ROOT / path).read_bytes()
