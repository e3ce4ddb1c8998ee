"""Writes Ray's logs to standard output, as a tar file; of large ones the end."""

import io
import os
import sys
import tarfile
from pathlib import Path
from typing import BinaryIO, Final

MAX_BYTES: Final = 2**20  # of each file
LOGS: Final = "session_latest/logs"


def write_logs(ray_dir: Path, output: BinaryIO) -> None:
    """Write the logs of each node that has its folder here; embedded the workers' are below the head's.

    Args:
        ray_dir: Ray's folder.
        output: gets the tar file.
    """
    folders = [*ray_dir.glob(LOGS), *ray_dir.glob(f"node-*/{LOGS}")]
    with tarfile.open(fileobj=output, mode="w|") as archive:
        for path in sorted(path for folder in folders for path in folder.rglob("*")):
            if path.is_file() and not path.is_symlink():
                with path.open("rb") as file:
                    file.seek(max(0, path.stat().st_size - MAX_BYTES))
                    content = file.read(MAX_BYTES)
                entry = tarfile.TarInfo(str(path.relative_to(ray_dir)).replace(f"{LOGS}/", ""))
                entry.size, entry.mtime = len(content), path.stat().st_mtime
                archive.addfile(entry, io.BytesIO(content))


if __name__ == "__main__":
    write_logs(Path(os.environ["RAY_TMPDIR"]) / "ray", sys.stdout.buffer)
