"""Verbs that copy all items into a file, and back."""

import os
import shlex
import sys
from argparse import Namespace
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from scripts.host.choose_runtime import runtime_in_use
from scripts.host.dialogue import confirm, next_step
from scripts.host.runtime import HEAD, StackError, relative
from scripts.host.settings import HostSettings
from seedcore.settings import PROJECT_ROOT

BACKUPS: Final = PROJECT_ROOT / "backups"
ARCHIVE: Final = "scripts.store_archive"
OTHER_FILE: Final = "`make restore FILE=PATH` takes another file."
DATES: Final = "????????T??????Z"  # in the names of backups


def backup(settings: HostSettings, arguments: Namespace) -> int:
    """Copy all items into a file, while the stack runs or not."""
    runtime = runtime_in_use(settings)
    name = f"{settings.compose_project_name}-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.tar"
    file = Path(arguments.file) if arguments.file else BACKUPS / name
    unfinished = file.parent / f"{file.name}.unfinished"
    try:
        if file.is_dir():
            raise StackError(f"{file} is a folder: `make backup FILE={shlex.quote(str(file / name))}` writes into it.")
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with unfinished.open("wb") as output, Path(os.devnull).open("rb") as nothing:
            code = runtime.run_with_state(ARCHIVE, ["export"], stdin=nothing, stdout=output)
        if code:
            raise StackError("no backup was made, as it says above. `make doctor` looks for the cause.")
        unfinished.rename(file)
    except OSError as error:
        raise StackError(f"cannot write {file}: {error.strerror}. `make backup FILE=PATH` goes elsewhere.") from error
    finally:
        with suppress(OSError):  # there was none
            unfinished.unlink()
    print(f"all items are in {relative(file)}, {file.stat().st_size} bytes")
    return next_step(f"`make restore FILE={shlex.quote(str(relative(file)))}` brings them back")


def restore(settings: HostSettings, arguments: Namespace) -> int:
    """Replace all items by those of a backup, after asking."""
    file = Path(arguments.file) if arguments.file else _newest_backup(settings)
    if not file.is_file():
        raise StackError(f"there is no file {file}. `ls {relative(BACKUPS)}` shows the backups.")
    runtime = runtime_in_use(settings)
    confirm(
        f"Replace all items of the stack '{settings.compose_project_name}' by those in {relative(file)}?",
        "`make restore` replaces all items, and there is nobody to ask. `make restore YES=1` means it.",
        arguments,
    )
    is_up = runtime.is_up()
    try:
        archive = file.open("rb")
    except OSError as error:
        raise StackError(f"cannot read {file}: {error.strerror}. Nothing was changed.") from error
    with archive:
        if is_up:
            if runtime.run_with_state(ARCHIVE, ["check"], stdin=archive, stdout=sys.stdout.buffer):
                raise StackError(f"it says above why. {OTHER_FILE}")
            archive.seek(0)
        # What actors of the application remember of the items of now, they must not write over those of the backup.
        if is_up and runtime.run_module(HEAD, "scripts.reload_actors", ["--end-own"]):
            raise StackError("nothing was restored. `make down`, then `make restore` again, then `make up`.")
        code = runtime.run_with_state(ARCHIVE, ["import"], stdin=archive, stdout=sys.stdout.buffer)
    # An actor reads its store's file until it is told to open it anew.
    is_alive = not is_up or not runtime.run_module(HEAD, "scripts.reload_actors", ["--all"] if not code else [])
    if code:
        raise StackError(f"it says above why, and which items were changed. {OTHER_FILE}")
    if not is_alive:
        raise StackError("the items are restored, but the actors were not restarted: `make down`, then `make up`.")
    print("the items that were there before are set aside in the state folder, as *.before-restore-*")
    return next_step("`make monitor` shows how many items there are now")


def _newest_backup(settings: HostSettings) -> Path:
    backups = sorted(BACKUPS.glob(f"{settings.compose_project_name}-{DATES}.tar"))  # another stack's name may go on
    if not backups:
        raise StackError(f"there is no backup in {relative(BACKUPS)}. `make restore FILE=PATH` takes any.")
    return backups[-1]
