"""What our keys in the engine are called. All of one owner's are in one slot of a cluster, by their hash tag."""

from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Final

from seedcore.store import limits

PREFIX: Final = "seedcore:"
OWNERS: Final = 1024  # whose prefix is remembered


class Keys:
    """The keys of one namespace.

    Args:
        namespace: `RAY_NAMESPACE`, so that two stacks may share an engine.
    """

    def __init__(self, namespace: str) -> None:
        self._before = f"{PREFIX}{{{namespace}/"
        self.owner: Callable[[str], bytes] = lru_cache(OWNERS)(self._prefix)

    def _prefix(self, owner: str) -> bytes:
        """Before each key of an owner; a brace in its name would end the hash tag."""
        return f"{self._before}{owner.replace('%', '%25').replace('}', '%7D')}}}:".encode()

    def item(self, owner: str, item_id: str) -> bytes:
        """Of an item."""
        return self.items(owner, [item_id])[0]

    def items(self, owner: str, item_ids: Iterable[str]) -> list[bytes]:
        """Of items."""
        before = self.owner(owner) + b"i:"
        return [before + item_id.encode() for item_id in item_ids]

    def pieces(self, owner: str) -> bytes:
        """Before each piece of a large array."""
        return self.owner(owner) + b"a:"

    def requests(self, owner: str, client_id: bytes) -> bytes:
        """Of the answers to a client's writes."""
        return b"%sr:%s" % (self.owner(owner), client_id.hex().encode())

    def bounds(self) -> list[bytes]:
        """Of what bounds the shared items, as `scripts.BOUNDS` takes them."""
        return [self.owner(limits.EVERYBODY) + name for name in (b"uses", b"sizes", b"totals", b"times")]

    def misses(self) -> list[bytes]:
        """Of the miss counters, as `scripts.RECORD` takes them."""
        return [self.owner(limits.EVERYBODY) + name for name in (b"misses", b"overcounts", b"miss-totals")]

    def reads(self) -> bytes:
        """Of how many gets found something, and how many nothing."""
        return self.owner(limits.EVERYBODY) + b"reads"

    @property
    def all_items(self) -> bytes:
        """What `SCAN` finds every item by."""
        return self._before.encode() + b"*}:i:*"

    @property
    def everything(self) -> bytes:
        """What `SCAN` finds all our keys by."""
        return self._before.encode() + b"*"

    def parse_item(self, key: bytes) -> tuple[str, str]:
        """The owner and the id of an item's key."""
        owner, _, item_id = key.removeprefix(self._before.encode()).decode().partition("}:i:")
        return owner.replace("%7D", "}").replace("%25", "%"), item_id
