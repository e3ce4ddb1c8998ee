"""A small ext4 file system in a file, which can be filled and made read-only without harm to anything else."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import docker

SIZE_BYTES: Final = 192 * 1024 * 1024
CONTAINER_USER: Final = 1000  # of the image


class SmallDisk:
    """A volume of a stack on a disk of its own.

    Args:
        mountpoint: where this machine sees the volume while a container uses it.
    """

    def __init__(self, mountpoint: Path) -> None:
        self._mountpoint = mountpoint

    @property
    def stores(self) -> list[Path]:
        """The files of the engine of the memory."""
        return [path for path in self._mountpoint.rglob("*") if path.is_file()]

    def store(self, name: str) -> Path:
        """The SQLite file of a singleton."""
        (found,) = self._mountpoint.rglob(f"{name}.sqlite3")
        return found

    @contextmanager
    def full(self) -> Iterator[None]:
        """Not a byte is free."""
        filler = self._mountpoint / "filler"
        with filler.open("wb") as file:
            try:
                while True:
                    file.write(b"\0" * 65536)
                    file.flush()
            except OSError:
                pass  # it is full
        try:
            yield
        finally:
            filler.unlink()

    @contextmanager
    def unwritable(self) -> Iterator[None]:
        """Every write fails, also one to a file that is open (`chattr +i`)."""
        # Not the -shm file, which is memory that the processes share.
        paths = [path for path in self.stores if not path.name.endswith("-shm")]
        subprocess.run(["chattr", "+i", *paths], check=True)
        try:
            yield
        finally:
            subprocess.run(["chattr", "-i", *paths], check=True)

    @contextmanager
    def without_permission(self) -> Iterator[None]:
        """Files and folders cannot be opened for writing any more; those that are open can be written."""
        modes = {path: path.stat().st_mode for path in [self._mountpoint, *self._mountpoint.rglob("*")]}
        for path, mode in modes.items():
            path.chmod(mode & ~0o222)
        try:
            yield
        finally:
            for path, mode in modes.items():
                if path.exists():
                    path.chmod(mode)


@contextmanager
def small_volume(engine: docker.DockerClient, project: str, name: str, folder: Path) -> Iterator[SmallDisk]:
    """Make a volume of a Compose project, before its first `up`, on a small disk.

    Args:
        engine: where the project will run.
        project: Compose's name of it.
        name: of the volume in compose.yaml.
        folder: for the file that holds the disk.
    """
    image = folder / "disk.ext4"
    with image.open("wb") as file:
        file.truncate(SIZE_BYTES)
    subprocess.run(["mkfs.ext4", "-q", image], check=True)
    device = subprocess.run(["losetup", "--find", "--show", image], check=True, capture_output=True, text=True)
    loop = device.stdout.strip()
    try:
        mountpoint = folder / "disk"
        mountpoint.mkdir()
        subprocess.run(["mount", loop, mountpoint], check=True)
        # Docker gives a volume the owner of the image's folder only if it is empty.
        (mountpoint / "lost+found").rmdir()
        os.chown(mountpoint, CONTAINER_USER, CONTAINER_USER)
        subprocess.run(["umount", mountpoint], check=True)
        volume = engine.volumes.create(
            f"{project}_{name}",
            driver="local",
            driver_opts={"type": "ext4", "device": loop},
            labels={"com.docker.compose.project": project, "com.docker.compose.volume": name},
        )
        yield SmallDisk(Path(volume.attrs["Mountpoint"]))
    finally:
        subprocess.run(["losetup", "--detach", loop], check=True)
