"""Writes numbered notes for ever, and prints each number once it is committed. For tests that kill it.

python -m tests.unit.kept_notes FILE
"""

import itertools
import sys
from pathlib import Path

from seedcore.settings import Synchronous
from seedcore.store.sqlite.item_store import ItemStore

if __name__ == "__main__":
    store = ItemStore(Path(sys.argv[1]), Synchronous.NORMAL)
    for number in itertools.count():
        with store.database.transaction() as connection:
            # Two items, so that half a transaction could be told from a whole one.
            store.set_many(connection, "", {f"first {number}": b"1", f"second {number}": b"2"}, None)
        print(number, flush=True)  # noqa: T201
