"""Which source a process runs, and whether there is other source on the disk by now."""

import hashlib
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Final

# The folders of a checkout whose saved files are live: mounted, reloaded, in the image, in the version of the code.
CODE: Final = ("app", "seedcore", "scripts")
# What else processes of the stack take from it: the containers' mounts, whose user is another one, and joined machines.
MOUNTED: Final = (*CODE, "images")
PROJECT_ROOT: Final = Path(__file__).resolve().parent.parent
VERSION_LENGTH: Final = 12  # hexadecimal digits that tell versions apart


@dataclass(frozen=True)
class CodeVersion:
    """The source of the modules that a process has loaded.

    Args:
        running: stands for their source as it was when the process began.
        on_disk: stands for their source as it is now.
        changed: the modules whose source is another now.
    """

    running: str
    on_disk: str
    changed: tuple[str, ...]

    @property
    def is_stale(self) -> bool:
        """Whether a new process would run other code."""
        return bool(self.changed)


class Sources:
    """The source files of packages.

    Args:
        packages: their folders.
    """

    def __init__(self, *packages: Path) -> None:
        self._packages = packages
        self._known: dict[Path, tuple[tuple[int, int], str]] = {}  # by file: its time and size, and its hash
        self._lock = threading.Lock()

    def modules(self) -> dict[str, Path]:
        """Each module's file by its name."""
        found = {}
        for package in self._packages:
            for path in filter(Path.is_file, package.rglob("*.py")):  # Emacs locks a file by a link to nowhere
                parts = path.relative_to(package.parent).with_suffix("").parts
                found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
        return found

    def hash(self, path: Path) -> str:
        """The hash of a file, or "" if it is gone; it is read again only after it was written to."""
        try:
            status = path.stat()
            written = (status.st_mtime_ns, status.st_size)
            with self._lock:
                known = self._known.get(path)
                if known is None or known[0] != written:
                    known = self._known[path] = (written, hashlib.sha256(path.read_bytes()).hexdigest())
        except OSError:  # gone meanwhile, or not for this user to read
            return ""
        return known[1]


class ProcessCode:
    """What this process loads of the checkout. Made before anything else of it is imported.

    Args:
        sources: of its packages.
    """

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self.begin()

    def begin(self) -> None:
        """Take what is on the disk now for what this process runs; for one that was forked before it loaded much."""
        self._modules = self._sources.modules()
        self._at_start = {name: self._sources.hash(path) for name, path in self._modules.items()}

    def version(self) -> CodeVersion:
        """Of the modules that are loaded by now."""
        loaded = sorted(self._modules.keys() & sys.modules.keys())
        before = [self._at_start[name] for name in loaded]
        now = [self._sources.hash(self._modules[name]) for name in loaded]
        changed = tuple(name for name, old, new in zip(loaded, before, now, strict=True) if old != new)
        return CodeVersion(_short(before), _short(now), changed)


def _short(hashes: list[str]) -> str:
    return hashlib.sha256(" ".join(hashes).encode()).hexdigest()[:VERSION_LENGTH]


process_code: Final = ProcessCode(Sources(*(PROJECT_ROOT / folder for folder in CODE)))
