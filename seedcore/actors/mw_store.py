"""The actor `mw`: what each organ remembers."""

from seedcore.actors.item_actor import ItemActor
from seedcore.actors.store_actor import begin
from seedcore.store.sqlite.item_store import ItemStore


class MwStore(ItemActor):
    """Keeps every organ's items until they expire or are deleted.

    Args:
        store: the SQLite file, below `STATE_DIR`.
    """

    def __init__(self, store: str) -> None:
        settings = begin()
        super().__init__(settings, ItemStore(settings.state_dir / store, settings.sqlite_synchronous))
