"""Makes the file with Ray's token."""

import os
import secrets
from pathlib import Path
from typing import Final

from scripts.runtime import StackError, relative

TOKEN_BYTES: Final = 32


def ensure_token(path: Path) -> None:
    """Create the token unless there is one.

    The folder is closed for other users. The file in it is not, since Compose mounts it into containers with the mode
    that it has here, and the containers' user is somebody else.

    Raises:
        StackError: there is a file, but not a usable one, or none can be made.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        except FileExistsError:
            if not path.read_text().strip():
                raise StackError(
                    f"the token file {relative(path)} (RAY_AUTH_TOKEN_PATH) is empty. "
                    "Delete it; `make up` makes a new one."
                ) from None
            return
        with os.fdopen(descriptor, "w") as file:
            os.fchmod(descriptor, 0o644)  # whatever the umask is
            file.write(secrets.token_hex(TOKEN_BYTES))
    except (OSError, UnicodeDecodeError) as error:
        raise StackError(
            f"cannot read or make the token file {relative(path)} (RAY_AUTH_TOKEN_PATH): {error}. "
            "Delete it, or correct its owner; `make up` makes a new one."
        ) from error
