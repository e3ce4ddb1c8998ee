"""Tries whether a singleton can be born from the code on the disk: `python -m scripts.actor_trial NAME FOLDER`.

In a process of its own, with copies of the stores that the singleton opens, so that whatever goes wrong does not touch
the living one. Writes the methods of its class into the folder, or else prints why it cannot be born and ends with 1.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from scripts.run_module import PROJECT_ROOT, where

DEADLINE_S: Final = 60.0
METHODS: Final = "methods.json"  # a file, since its constructor and Ray print what they like
SPACE_FACTOR: Final = 2  # as often as a store's size must be free, or it is not copied


@dataclass(frozen=True)
class Trial:
    """What came of a trial.

    Args:
        reason: why the singleton cannot be born; empty if it can.
        methods: of its class, as `seedcore.cluster.actor_process.methods_of` lists them.
    """

    reason: str = ""
    methods: tuple[str, ...] = ()


def try_actor(name: str, state_dir: Path) -> Trial:
    """Try whether the singleton can be born from the code on this node's disk.

    Args:
        name: of the singleton.
        state_dir: where its store is; the copy is made there as well.
    """
    try:
        with tempfile.TemporaryDirectory(prefix=".trial-", dir=state_dir) as folder:
            done = subprocess.run(
                [sys.executable, "-m", "scripts.actor_trial", name, folder],
                cwd=PROJECT_ROOT,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=DEADLINE_S,
                check=False,
            )
            if done.returncode == 0:
                return Trial(methods=tuple(json.loads(Path(folder, METHODS).read_text())))
    except subprocess.TimeoutExpired:
        return Trial(f"its constructor does not return within {DEADLINE_S:g} s")
    return Trial(done.stdout.strip() or f"its process ended with exit code {done.returncode}")


def _try(name: str, folder: Path) -> tuple[str, ...]:
    # Late, since what is tried may be broken.
    from seedcore.cluster.actor_process import methods_of
    from seedcore.cluster.singletons import singletons
    from seedcore.settings import load_settings
    from seedcore.store import recovery

    settings = load_settings()
    row = next((row for row in singletons(settings) if row.name == name), None)
    if row is None:
        raise LookupError("it has no row any more; it lives on until `make down`")
    for argument in row.arguments.values():
        store = settings.state_dir / str(argument)
        has_room = shutil.disk_usage(folder).free > SPACE_FACTOR * store.stat().st_size if store.is_file() else False
        if has_room:  # else it is born with an empty one
            recovery.backup(store, folder / str(argument))
    # What is printed is for whoever tries it.
    os.environ.update(STATE_DIR=str(folder), LOG_LEVEL="ERROR")
    load_settings.cache_clear()
    row.actor_class(**row.arguments)
    return methods_of(row.actor_class)


def main(argv: list[str]) -> int:
    """Try one singleton."""
    name, folder = argv
    try:
        Path(folder, METHODS).write_text(json.dumps(_try(name, Path(folder))))
    except BaseException as error:
        print(where(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
