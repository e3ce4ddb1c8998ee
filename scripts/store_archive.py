"""All stores of the stack as one tar file: `python -m scripts.store_archive export > FILE`, or `import < FILE`,
which `check < FILE` tries without a change.

Runs where the state folder is; `make backup` and `make restore` start it there. The copies are consistent, each store
as of one moment, while the actors go on writing. Large arrays are in it as files of their own.
"""

import argparse
import json
import re
import shutil
import sqlite3
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, Final

from seedcore.errors import SeedCoreError
from seedcore.settings import Settings, SettingsError, load_settings
from seedcore.store import recovery
from seedcore.store.files import array_files
from seedcore.store.files.store_files import ARRAYS

SET_ASIDE: Final = ".before-restore-"
MANIFEST: Final = "manifest.json"
FORMAT: Final = 1
STORES: Final = "*/*.sqlite3"  # below STATE_DIR: a folder for each namespace, a file for each actor
STORE_NAME: Final = re.compile(r"[^/.][^/]*/[^/.][^/]*\.sqlite3")
ARRAYS_NAME: Final = re.compile(rf"{STORE_NAME.pattern}{ARRAYS}/{array_files.NAME.pattern}")
MEMBERS: Final = (re.compile(re.escape(MANIFEST)), STORE_NAME, ARRAYS_NAME)


class ArchiveError(Exception):
    """Raised for an archive that cannot be written or read; the message is for the user."""


class PartlyRestoredError(ArchiveError):
    """Raised when some stores were replaced, and the next one could not be."""


def export_stores(settings: Settings, output: BinaryIO) -> list[str]:
    """Write a consistent copy of every store.

    Args:
        settings: where the stores are.
        output: gets the tar file.

    Returns:
        the stores' paths below `STATE_DIR`.

    Raises:
        ArchiveError: there is no store.
        StoreUnavailableError, StoreDamagedError: a store cannot be copied.
    """
    names = sorted(str(path.relative_to(settings.state_dir)) for path in settings.state_dir.glob(STORES))
    if not names and not settings.memory_url:
        raise ArchiveError(f"there are no items below {settings.state_dir}. `make up` makes the files for them.")
    # Beside the stores, since /tmp is memory in a container.
    with tempfile.TemporaryDirectory(prefix=".backup-", dir=settings.state_dir) as folder:
        copies = Path(folder)
        if settings.memory_url:
            from seedcore.memory.transfer import export_items  # late, since most have none of it

            names = export_items(settings, copies).names
        else:
            for name in names:
                (copies / name).parent.mkdir(exist_ok=True)
                recovery.backup(settings.state_dir / name, copies / name)
        manifest = {"format": FORMAT, "made_at": datetime.now(UTC).isoformat(timespec="seconds"), "stores": names}
        (copies / MANIFEST).write_text(json.dumps(manifest))
        with tarfile.open(fileobj=output, mode="w|") as archive:
            for name in (MANIFEST, *names):
                archive.add(copies / name, arcname=name)
                for file in sorted(copies.glob(f"{name}{ARRAYS}/*")):
                    archive.add(file, arcname=str(file.relative_to(copies)))
    return names


def import_stores(settings: Settings, archive: BinaryIO) -> list[str]:
    """Put the stores of an archive in the place of those that are there, which are set aside.

    Nothing is replaced before every store of the archive was found whole.

    Args:
        settings: where the stores are.
        archive: the tar file.

    Returns:
        the stores' paths below `STATE_DIR`.

    Raises:
        ArchiveError: it is no archive of ours.
        PartlyRestoredError: some were replaced before one could not be.
        StoreUnavailableError, StoreDamagedError: a store of the archive is damaged or of a newer version.
    """
    with _whole(settings, archive) as (copies, names):
        if settings.memory_url:
            _import_into_engine(settings, copies)
            return names
        for position, name in enumerate(names):
            try:
                (settings.state_dir / name).parent.mkdir(exist_ok=True)
                recovery.restore(copies / name, settings.state_dir / name)
            except (SeedCoreError, OSError) as error:
                if not position:
                    raise
                raise PartlyRestoredError(
                    f"{error}. The items of {', '.join(names[:position])} were replaced before that, all others are as "
                    "they were. `make down`, `make up`, then `make restore` again."
                ) from error
    return names


def check_archive(settings: Settings, archive: BinaryIO) -> None:
    """See that `import_stores` would take an archive. Arguments and errors as there."""
    with _whole(settings, archive):
        pass


@contextmanager
def _whole(settings: Settings, archive: BinaryIO) -> Iterator[tuple[Path, list[str]]]:
    """A folder with the stores of an archive, which are whole, and their paths in it."""
    settings.state_dir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".restore-", dir=settings.state_dir) as folder:
        copies = Path(folder)
        names = _extract(archive, copies)
        for name in names:
            recovery.inspect_backup(copies / name)
        _require_own(settings, names)
        yield copies, names


def _require_own(settings: Settings, names: list[str]) -> None:
    """Those of another stack would lie where this one never looks, or in an engine in the place of its own."""
    from seedcore.memory.transfer import store_names

    missing = sorted({*store_names(settings).values()} - {*names})
    if missing:
        raise ArchiveError(
            f"the backup has {', '.join(names)}, but no {', '.join(missing)}, as this stack calls its items: give it "
            "the RAY_NAMESPACE and the actors' names of the stack that it was made in"
        )


def _import_into_engine(settings: Settings, copies: Path) -> None:
    """What is there is set aside in files first, as the engine cannot hold both."""
    from seedcore.memory.transfer import export_items, import_items

    set_aside = settings.state_dir / f"{settings.ray_namespace}{SET_ASIDE}{datetime.now(UTC):%Y%m%dT%H%M%S%fZ}"
    for damaged in export_items(settings, set_aside, leaves_damaged=True).damaged:
        print(f"not set aside: {damaged}", file=sys.stderr)
    try:
        import_items(settings, copies)
    except (SeedCoreError, OSError, sqlite3.Error) as error:
        raise PartlyRestoredError(
            f"{error} A part of the items was replaced before that; those that were there are in {set_aside}. "
            "`make restore` again."
        ) from error


def _extract(archive: BinaryIO, folder: Path) -> list[str]:
    try:
        with tarfile.open(fileobj=archive, mode="r|") as tar:
            for member in tar:
                _extract_file(tar, member, folder)
        manifest = json.loads((folder / MANIFEST).read_text())
        if manifest["format"] != FORMAT:
            raise ArchiveError(
                f"the backup has format {manifest['format']}, this version of the template reads {FORMAT}: take the "
                "version that made it, by `git pull` or `copier update`"
            )
        names = [str(name) for name in manifest["stores"]]
    except (tarfile.TarError, FileNotFoundError, ValueError, KeyError, TypeError) as error:
        raise ArchiveError(f"this is no backup of `make backup`, or a part of one only: {error}") from error
    for name in names:
        if not STORE_NAME.fullmatch(name) or not (folder / name).is_file():
            raise ArchiveError(f"the backup is incomplete: there is no {name} in it")
    return names


def _extract_file(tar: tarfile.TarFile, member: tarfile.TarInfo, folder: Path) -> None:
    # Python before 3.11.4 has no filter that refuses links, absolute paths and whatever leads elsewhere.
    content = tar.extractfile(member) if member.isfile() else None
    is_ours = any(name.fullmatch(member.name) for name in MEMBERS)
    if content is None or not is_ours:
        raise ArchiveError(f"this is no backup of `make backup`: it has {member.name!r} in it")
    path = folder / member.name
    path.parent.mkdir(parents=True, exist_ok=True)
    with content, path.open("wb") as file:
        shutil.copyfileobj(content, file)


def main(argv: list[str]) -> int:
    """Run one of the three; what it did is told on standard error."""
    parser = argparse.ArgumentParser(prog="python -m scripts.store_archive", description=__doc__)
    parser.add_argument("direction", choices=("export", "check", "import"))
    direction = parser.parse_args(argv).direction
    names = []
    try:
        settings = load_settings()
        if direction == "export":
            names = export_stores(settings, sys.stdout.buffer)
        elif direction == "check":
            check_archive(settings, sys.stdin.buffer)
        else:
            names = import_stores(settings, sys.stdin.buffer)
    except PartlyRestoredError as error:
        print(error, file=sys.stderr)
        return 1
    except (ArchiveError, SeedCoreError, SettingsError, OSError) as error:
        why = str(error).rstrip(".") + "."
        if isinstance(error, OSError):
            why = f"cannot {direction} the items: {why} Is the disk full?"
        print(why if direction == "export" else f"{why} No item was changed.", file=sys.stderr)
        return 1
    except KeyboardInterrupt:  # whoever started this says what to do
        return 130
    for name in names:
        print(f"  {name}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
