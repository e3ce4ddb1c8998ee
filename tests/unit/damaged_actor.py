"""An actor whose file is damaged while it lives.

python -m tests.unit.damaged_actor FILE
"""

import os
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

from seedcore.actors.mw_store import MwStore
from tests.unit.performing import do

PAGE = 4096
ITEMS = {str(number): bytes(1000) for number in range(200)}


def main(path: Path) -> None:
    actor = MwStore(path.name)
    do(actor, "set_many", "agent", ITEMS)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with closing(os.fdopen(os.open(path, os.O_RDWR), "r+b")) as file:
        file.seek(20 * PAGE)
        file.write(b"\xff" * 10 * PAGE)
    print("damaged", flush=True)  # noqa: T201
    do(actor, "get_many", "agent", list(ITEMS))
    print("answered", flush=True)  # noqa: T201


if __name__ == "__main__":
    main(Path(sys.argv[1]))
