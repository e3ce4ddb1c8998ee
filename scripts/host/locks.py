"""The lock files: SeedCore's, and that of what the application needs beside it, which `make lock` writes."""

import hashlib
from typing import Final

from seedcore.settings import PROJECT_ROOT

OF_APPLICATION: Final = "app/requirements.lock"
LOCKS: Final = ("requirements.lock", OF_APPLICATION)
REQUIREMENTS: Final = "app/requirements.txt"
NOT_LOCKED: Final = f"{REQUIREMENTS} was changed since the last `make lock`, so what is new in it is not installed"


def is_locked() -> bool:
    """Whether the application's lock file is of its requirements as they are now, as scripts/host/lock.sh notes."""
    requirements, lock = PROJECT_ROOT / REQUIREMENTS, PROJECT_ROOT / OF_APPLICATION
    if not requirements.exists():
        return True
    return lock.exists() and hashlib.sha256(requirements.read_bytes()).hexdigest() in lock.read_text()
