"""An actor that goes on writing after its successor has opened the same store.

python -m tests.unit.fenced_actor
"""

from seedcore.actors.mw_store import MwStore
from tests.unit.performing import do


def main() -> None:
    paused = MwStore("mw.sqlite3")
    do(paused, "set_many", "agent", {"before": b"1"})
    successor = MwStore("mw.sqlite3")
    do(successor, "set_many", "agent", {"after": b"2"})
    print("fenced", flush=True)  # noqa: T201
    try:
        do(paused, "set_many", "agent", {"late": b"3"})
    finally:
        print("answered, be it with an error", flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
