"""Which source a process runs, and whether there is other source on the disk by now."""

import hashlib
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Final

PACKAGE: Final = Path(__file__).parent
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
    """The hashes of a package's source files.

    Args:
        folder: of the package.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known: dict[Path, tuple[tuple[int, int], str]] = {}  # by file: its time and size, and its hash
        self._lock = threading.Lock()

    def hashes(self) -> dict[str, str]:
        """Each module's hash by its name; a file is read again only after it was written to."""
        with self._lock:
            found = {}
            for path in sorted(self._folder.rglob("*.py")):
                parts = path.relative_to(self._folder.parent).with_suffix("").parts
                found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = self._hash(path)
            return found

    def _hash(self, path: Path) -> str:
        try:
            status = path.stat()
            written = (status.st_mtime_ns, status.st_size)
            known = self._known.get(path)
            if known is None or known[0] != written:
                known = self._known[path] = (written, hashlib.sha256(path.read_bytes()).hexdigest())
        except OSError:  # gone meanwhile, or not for this user to read
            return ""
        return known[1]


class ProcessCode:
    """What this process loads of our own package. Made before anything else of it is imported.

    Args:
        sources: of the package.
    """

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self._at_start = sources.hashes()

    def begin(self) -> None:
        """Take what is on the disk now for what this process runs; for one that was forked before it loaded much."""
        self._at_start = self._sources.hashes()

    def version(self) -> CodeVersion:
        """Of the modules that are loaded by now."""
        loaded = sorted(set(self._at_start) & set(sys.modules))
        now = self._sources.hashes()
        before, after = ([hashes.get(name, "") for name in loaded] for hashes in (self._at_start, now))
        changed = tuple(name for name, old, new in zip(loaded, before, after, strict=True) if old != new)
        return CodeVersion(_short(before), _short(after), changed)


def _short(hashes: list[str]) -> str:
    return hashlib.sha256(" ".join(hashes).encode()).hexdigest()[:VERSION_LENGTH]


process_code: Final = ProcessCode(Sources(PACKAGE))
