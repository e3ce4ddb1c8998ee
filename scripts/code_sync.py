"""Brings the code of the head's checkout to the machines that have joined it, whenever a file is saved.

python -m scripts.code_sync publish
python -m scripts.code_sync follow FOLDER [--once]

The control plane keeps the latest copy. It is written file by file, as if it were saved there: what runs there is as
stale, and new processes as new, as at home.
"""

import hashlib
import io
import os
import shutil
import sys
import tarfile
import time
from functools import cached_property
from pathlib import Path
from typing import Final

from ray._raylet import GcsClient  # type: ignore[attr-defined]
from ray.exceptions import RayError

from seedcore.cluster.connection import reload_ray_configuration
from seedcore.code_version import MOUNTED, PROJECT_ROOT
from seedcore.ray_environment import export_ray_environment
from seedcore.settings import Settings, load_settings

LEFT_OUT: Final = frozenset({"__pycache__", "ca-certificates", "node_modules", ".git"})
MAX_BYTES: Final = 64 * 2**20  # of all files; the control plane has them in memory
LOOK_S: Final = 1.0  # between two looks
NAMESPACE: Final = b"seedcore"
DIGEST, ARCHIVE = b"code_digest", b"code"


def files_of(root: Path) -> dict[str, Path]:
    """Each file of the code by its path from the project's folder."""
    found = {}
    for folder in MOUNTED:
        for base, folders, names in os.walk(root / folder):
            folders[:] = sorted(set(folders) - LEFT_OUT)
            for name in sorted(names):
                path = Path(base, name)
                if path.is_file():
                    found[str(path.relative_to(root))] = path
    return found


def archive_of(root: Path) -> tuple[bytes, bytes]:
    """All files in one compressed archive, and a digest of what is in them.

    Raises:
        ValueError: they are too large.
    """
    buffer, digest, size = io.BytesIO(), hashlib.sha256(), 0
    with tarfile.open(fileobj=buffer, mode="w:gz", compresslevel=1) as archive:
        for name, path in files_of(root).items():
            content = path.read_bytes()
            size += len(content)
            if size > MAX_BYTES:
                raise ValueError(f"the files below {', '.join(MOUNTED)} have more than {MAX_BYTES >> 20} MiB")
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), path.stat().st_mode & 0o777
            digest.update(f"{name}\0{entry.mode}\0{len(content)}\0".encode() + content)
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue(), digest.hexdigest().encode()


def unpack(archive: bytes, root: Path) -> list[str]:
    """Write what differs, and delete what is not in the archive any more; the names of both."""
    changed = []
    with tarfile.open(fileobj=io.BytesIO(archive)) as files:
        names = set(files.getnames())
        for entry in files:
            path, content = root / entry.name, files.extractfile(entry).read()  # type: ignore[union-attr]
            if path.is_file() and path.read_bytes() == content:
                continue
            if path.is_dir():  # a folder that became a file
                shutil.rmtree(path)
            for folder in path.parents:
                if folder.is_file():  # the other way round
                    folder.unlink()
            path.parent.mkdir(parents=True, exist_ok=True)
            new = path.with_name(f".{path.name}.{os.getpid()}")
            new.write_bytes(content)
            new.chmod(entry.mode)
            new.replace(path)  # nobody reads half of it
            changed.append(entry.name)
    for name, path in files_of(root).items():
        if name not in names:
            path.unlink()
            changed.append(name)
    return changed


class Copy:
    """The copy that the control plane keeps.

    Args:
        settings: with its address and the token.
    """

    def __init__(self, settings: Settings) -> None:
        export_ray_environment(settings)
        reload_ray_configuration()
        self._address = settings.ray_address

    @cached_property
    def _gcs(self) -> GcsClient:
        return GcsClient(address=self._address)

    def forget_head(self) -> None:
        """Connect anew: a head that was started afresh refuses whoever knew the last one."""
        self.__dict__.pop("_gcs", None)

    def digest(self) -> bytes | None:
        """Of the copy that is there."""
        found: bytes | None = self._gcs.internal_kv_get(DIGEST, NAMESPACE)
        return found

    def put(self, archive: bytes, digest: bytes) -> None:
        """Replace it."""
        self._gcs.internal_kv_put(ARCHIVE, archive, True, NAMESPACE)
        self._gcs.internal_kv_put(DIGEST, digest, True, NAMESPACE)

    def get(self) -> bytes:
        """The archive."""
        found: bytes = self._gcs.internal_kv_get(ARCHIVE, NAMESPACE)
        return found


def publish(copy: Copy, root: Path) -> None:
    """Keep the copy as the files are."""
    seen: object = None
    is_there = False
    while True:
        try:
            now = [(name, path.stat().st_mtime_ns, path.stat().st_size) for name, path in files_of(root).items()]
            if now != seen or (is_there and copy.digest() is None):
                archive, digest = archive_of(root)
                if copy.digest() != digest:
                    copy.put(archive, digest)
                seen, is_there = now, True
        except ValueError as error:
            seen, is_there = now, False  # told once
            print(f"code_sync: {error}, so the machines that have joined keep what they have", file=sys.stderr)
        except (RayError, OSError):  # no head now, or a file that goes while it is looked at
            copy.forget_head()
            seen = None
        time.sleep(LOOK_S)


def follow(copy: Copy, root: Path, *, once: bool) -> None:
    """Keep the files as the copy is."""
    have: bytes | None = None
    while True:
        try:
            digest = copy.digest()
            if digest is not None and digest != have:
                changed = unpack(copy.get(), root)
                have = digest
                if changed and not once:
                    print(f"code_sync: {len(changed)} files are new: {', '.join(changed[:5])}", flush=True)
        except RayError:  # no head now
            copy.forget_head()
        if once and have is not None:
            return
        time.sleep(LOOK_S)


def main(arguments: list[str]) -> None:
    """Publish or follow."""
    copy = Copy(load_settings())
    if arguments[0] == "publish":
        publish(copy, PROJECT_ROOT)
    else:
        follow(copy, Path(arguments[1]), once="--once" in arguments)


if __name__ == "__main__":
    main(sys.argv[1:])
