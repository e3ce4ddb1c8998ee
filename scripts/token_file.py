"""Makes the file with Ray's token."""

import os
import secrets
import stat
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Final

from scripts.runtime import StackError, relative

TOKEN_BYTES: Final = 32
FOR_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO


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
            _check_private(path)
            _create(path)
        elif path.stat().st_mode & FOR_OTHERS:
            _check_private(path)
        if not path.read_text().strip():
            raise StackError(
                f"the token file {relative(path)} (RAY_AUTH_TOKEN_PATH) is empty. Delete it; `make up` makes a new one."
            )
    except (OSError, UnicodeDecodeError) as error:
        raise StackError(
            f"cannot read or make the token file {relative(path)} (RAY_AUTH_TOKEN_PATH): {error}. "
            "Delete it, or correct its owner; `make up` makes a new one."
        ) from error


def _check_private(path: Path) -> None:
    folder = path.parent
    if folder.stat().st_mode & FOR_OTHERS:
        raise StackError(
            f"other users can enter {relative(folder)}, the folder of the token file (RAY_AUTH_TOKEN_PATH). "
            f"`chmod 700 {relative(folder)}`, or set another path in .env."
        )


def _create(path: Path) -> None:
    # Written under another name first: whoever starts at the same moment must not read an empty file.
    descriptor, name = tempfile.mkstemp(dir=path.parent)
    try:
        with os.fdopen(descriptor, "w") as file:
            os.fchmod(descriptor, 0o644)  # whatever the umask is
            file.write(secrets.token_hex(TOKEN_BYTES))
        with suppress(FileExistsError):  # the other one was faster
            os.link(name, path)
    finally:
        Path(name).unlink()
