"""Makes and replaces the file with Ray's token."""

import os
import secrets
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from scripts.host.runtime import StackError, relative

TOKEN_BYTES: Final = 32
FOR_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO
MODE: Final = 0o644  # of a new file


def ensure_token(path: Path) -> None:
    """Create the token unless there is one.

    The folder is closed for other users. The file in it is not, since Compose mounts it into containers with the mode
    that it has here, and the containers' user is somebody else.

    Raises:
        StackError: there is a file, but not a usable one, or none can be made, or other users could read it.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not os.path.lexists(path):
            _require_private(path)
            _create(path)
    except OSError as error:
        raise _no_token(path, error) from error
    require_token(path)


def require_token(path: Path) -> None:
    """Refuse to go on unless there is a token that no other user can read.

    Raises:
        StackError: there is none.
    """
    try:
        if path.stat().st_mode & FOR_OTHERS:
            _require_private(path)
        if not path.read_text().strip():
            raise StackError(
                f"the token file {relative(path)} (RAY_AUTH_TOKEN_PATH) is empty. Delete it; `make up` makes a new one."
            )
    except (OSError, UnicodeDecodeError) as error:
        raise _no_token(path, error) from error


def replace_token(path: Path) -> None:
    """Put a new token in the place of the one that is there.

    Raises:
        StackError: as `ensure_token`.
    """
    write_token(path, secrets.token_hex(TOKEN_BYTES))


def write_token(path: Path, token: str) -> None:
    """Put a token in the place of the one that is there, with the same mode; whoever reads finds one of the two.

    Raises:
        StackError: as `ensure_token`.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        mode = stat.S_IMODE(path.stat().st_mode) if path.is_file() else MODE
        if mode & FOR_OTHERS:
            _require_private(path)
        with _file_with(token, path.parent, mode) as new:
            new.replace(path)
    except OSError as error:
        raise _no_token(path, error) from error


def _no_token(path: Path, error: Exception) -> StackError:
    return StackError(
        f"cannot read or make the token file {relative(path)} (RAY_AUTH_TOKEN_PATH): {error}. "
        "Delete it, or correct its owner; `make up` makes a new one."
    )


def _require_private(path: Path) -> None:
    folder = path.parent
    if folder.stat().st_mode & FOR_OTHERS:
        raise StackError(
            f"other users can enter {relative(folder)}, the folder of the token file (RAY_AUTH_TOKEN_PATH). "
            f"`chmod 700 {relative(folder)}`, or set another path in .env."
        )


def _create(path: Path) -> None:
    with (
        _file_with(secrets.token_hex(TOKEN_BYTES), path.parent, MODE) as new,
        suppress(FileExistsError),
    ):  # whoever starts at the same moment was faster
        path.hardlink_to(new)


@contextmanager
def _file_with(token: str, folder: Path, mode: int) -> Iterator[Path]:
    """A token under another name, so that nobody reads half of it under the right one."""
    descriptor, name = tempfile.mkstemp(dir=folder)
    try:
        with os.fdopen(descriptor, "w") as file:
            os.fchmod(descriptor, mode)  # whatever the umask is
            file.write(token)
        yield Path(name)
    finally:
        Path(name).unlink(missing_ok=True)
