"""Writes Ray's logs of this node to standard output, as a tar file; of large ones the end."""

import io
import os
import sys
import tarfile
from pathlib import Path
from typing import BinaryIO, Final

MAX_BYTES: Final = 2**20  # of each file


def write_logs(folder: Path, output: BinaryIO) -> None:
    """Write what is in the folder of a node's logs.

    Args:
        folder: of a session.
        output: gets the tar file.
    """
    with tarfile.open(fileobj=output, mode="w|") as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file() and not path.is_symlink():
                with path.open("rb") as file:
                    file.seek(max(0, path.stat().st_size - MAX_BYTES))
                    content = file.read(MAX_BYTES)
                entry = tarfile.TarInfo(str(path.relative_to(folder)))
                entry.size, entry.mtime = len(content), path.stat().st_mtime
                archive.addfile(entry, io.BytesIO(content))


if __name__ == "__main__":
    write_logs(Path(os.environ.get("RAY_TMPDIR", "/tmp/ray")) / "session_latest/logs", sys.stdout.buffer)  # noqa: S108
