"""Items in the engine: each is a key, which every process reads and writes itself."""

import asyncio
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from typing import Any, Final

from seedcore.errors import UNANSWERED, ItemDamagedError
from seedcore.event_loop import INLINE_BYTES
from seedcore.store import limits
from seedcore.store.engine import Many
from seedcore.store.read_report import ReadReport
from seedcore.store.requests import RequestId, RequestIds
from seedcore.store.valkey import envelope, scripts
from seedcore.store.valkey.client import Batch, Steps, ValkeyClient
from seedcore.store.valkey.connections import Command
from seedcore.store.valkey.envelope import Gathering, Pieces
from seedcore.store.valkey.keys import Keys
from seedcore.store.values.codec import Arrays, Encoded, WithArrays, aside_encoder, is_quickly_encoded

UNREFERENCED_S: Final = 3600  # a piece that no item refers to is gone after that
# How long the answer to a request is kept: of one with a key of its caller's, and of one that only we send again, which
# we do for an hour at most (CALL_DEADLINE_S).
KEYED_MS: Final = 7 * 24 * 3600 * 1000
NUMBERED_MS: Final = 2 * 3600 * 1000
LONGEST_TTL_MS: Final = 10**15  # which no server takes for too many
MANY: Final = 1000  # items in one command of a get

Packed = tuple[bytes, list[Arrays]]


class GivenUp:
    """The writes of this process that failed without an answer, and that the engine has yet to be told not to do."""

    def __init__(self) -> None:
        self._changing = threading.Lock()
        self._requests: dict[RequestId, str] = {}  # and whose items they are about

    def __bool__(self) -> bool:
        """Whether there are some."""
        return bool(self._requests)

    def add(self, request: RequestId, owner: str) -> None:
        """One more, about the items of an owner."""
        with self._changing:
            self._requests[request] = owner

    def forget(self, requests: Iterable[RequestId]) -> None:
        """The engine knows of them."""
        with self._changing:
            for request in requests:
                self._requests.pop(request, None)

    def fenced_off_by(self, request: RequestId, owner: str) -> set[RequestId]:
        """Those that are not done any more once this request is answered, which tells the lowest number still waited
        for. Another one of its client may still be open, and a request with a key is another client's.
        """
        with self._changing:
            return {
                one
                for one, whose in self._requests.items()
                if whose == owner and one.client_id == request.client_id and one.number < request.first_incomplete
            }

    def others_than(self, requests: Set[RequestId]) -> list[tuple[RequestId, str]]:
        """All but those, each with whose items it is about."""
        with self._changing:
            return [(one, owner) for one, owner in self._requests.items() if one not in requests]


class ValkeyItems:
    """The items of organs, or those of everybody, which are bounded. Threads and event loops may share it.

    Args:
        client: of the engine.
        keys: what the items are called there.
        report: of what is read.
        bounds: bytes that a value may have, by the knobs that say so.
        given_up: of all items of this process.
        most: of the shared items: how many there may be, and how many bytes.
        ahead: steps before a write that may evict, which must know what this process has read.
    """

    def __init__(
        self,
        client: ValkeyClient,
        keys: Keys,
        report: "ReadReport[str]",
        name: str,
        bounds: Mapping[str, int],
        given_up: GivenUp,
        most: tuple[int, int] | None = None,
        ahead: Callable[[], Steps[None]] | None = None,
    ) -> None:
        self._client, self._keys, self._report, self._name = client, keys, report, name
        self._bounds, self._most, self._ahead = bounds, most, ahead
        self._least_bound = min(bounds.values())
        self._requests = RequestIds()
        self._given_up = given_up

    # Reads

    def get(self, owner: str, item_id: str) -> Encoded | None:
        """As `engine.Items.get`."""
        return self._one(self._client.run(self._find(owner, [item_id])), item_id)

    async def get_async(self, owner: str, item_id: str) -> Encoded | None:
        """`get` without blocking the event loop."""
        return self._one(await self._client.run_async(self._find(owner, [item_id])), item_id)

    @staticmethod
    def _one(found: Many, item_id: str) -> Encoded | None:
        value = found.get(item_id)
        if isinstance(value, ItemDamagedError):
            raise value
        return value

    def get_many(self, owner: str, item_ids: Sequence[str]) -> Many:
        """As `engine.Items.get_many`."""
        return self._client.run(self._find(owner, item_ids))

    async def get_many_async(self, owner: str, item_ids: Sequence[str]) -> Many:
        """`get_many` without blocking the event loop."""
        return await self._client.run_async(self._find(owner, item_ids))

    def _find(self, owner: str, item_ids: Sequence[str]) -> Steps[Many]:
        found = yield from self.look(owner, item_ids)
        self._report.add(self._name, found, len(item_ids) - len(found))
        return found

    def look(self, owner: str, item_ids: Sequence[str]) -> Steps[Many]:
        """The steps of a get that does not count."""
        found: dict[str, Encoded | ItemDamagedError] = {}
        for start in range(0, len(item_ids), MANY):
            yield from self._find_some(owner, item_ids[start : start + MANY], found)
        return found

    def _find_some(
        self, owner: str, item_ids: Sequence[str], found: dict[str, Encoded | ItemDamagedError]
    ) -> Steps[None]:
        keys = self._keys.items(owner, item_ids)
        command: Command = ("GET", keys[0]) if len(keys) == 1 else ("MGET", *keys)
        (answer,) = yield Batch(keys[0], [command])
        for key, item_id, value in zip(keys, item_ids, [answer] if len(keys) == 1 else answer, strict=True):
            if value is not None:
                try:
                    one = yield from self._with_arrays(owner, key, item_id, value)
                except ItemDamagedError as error:
                    found[item_id] = error
                else:
                    if one is not None:
                        found[item_id] = one

    def _with_arrays(self, owner: str, key: bytes, item_id: str, value: bytes) -> Steps[Encoded | None]:
        while True:
            data, pieces = envelope.unwrap(value, key, item_id)
            if pieces is None:
                return data
            gathering = yield from self._gather(owner, pieces)
            if gathering is not None:
                return WithArrays(data, gathering.arrays(item_id))
            (again,) = yield Batch(key, [("GET", key)])
            if again == value:
                raise envelope.damaged(item_id)
            if again is None:
                return None
            value = again

    def _gather(self, owner: str, pieces: Pieces) -> Steps[Gathering | None]:
        """The arrays; None if a piece is not there, since the item was replaced meanwhile."""
        gathering = Gathering(pieces)
        for key in self._piece_keys(owner, pieces):
            (piece,) = yield Batch(key, [("GET", key)], is_large=True)
            if piece is None:
                return None
            gathering.add(piece)
        return gathering

    def _piece_keys(self, owner: str, pieces: Pieces) -> list[bytes]:
        prefix = self._keys.pieces(owner)
        return [b"%s%s:%d" % (prefix, pieces.name.encode(), piece) for piece in range(pieces.number)]

    # Writes

    def pack(self, items: Mapping[str, Any]) -> dict[str, Packed]:
        """As `engine.Items.pack`."""
        packed = {}
        encode_aside = aside_encoder(envelope.MIN_BYTES)
        for item_id, value in items.items():
            data, arrays = packed[item_id] = encode_aside(value)
            size = envelope.size_of(data, arrays)
            if size > self._least_bound:
                for knob, max_bytes in self._bounds.items():
                    limits.validate_size(item_id, size, max_bytes, knob)
        return packed

    async def pack_async(self, items: Mapping[str, Any]) -> dict[str, Packed]:
        """`pack` without blocking the event loop."""
        is_quick = len(items) == 1 and all(map(is_quickly_encoded, items.values()))
        return self.pack(items) if is_quick else await asyncio.to_thread(self.pack, items)

    def set_encoded(self, owner: str, values: Mapping[str, Encoded], ttl_s: float | None) -> None:
        """`set_many` of what another engine had."""
        self.set_many(owner, {item_id: _repacked(value) for item_id, value in values.items()}, ttl_s)

    def set_many(self, owner: str, packed: Mapping[str, Packed], ttl_s: float | None) -> None:
        """As `engine.Items.set_many`."""
        if not packed:
            return
        with self._request(owner) as (fence, request):
            self._client.run(_after(fence, self._keep(owner, packed, ttl_s, request)))

    async def set_many_async(self, owner: str, packed: Mapping[str, Packed], ttl_s: float | None) -> None:
        """`set_many` without blocking the event loop."""
        if not packed:
            return
        is_large = sum(_bytes_of(one) for one in packed.values()) > INLINE_BYTES
        with self._request(owner) as (fence, request):
            steps = _after(fence, self._keep(owner, packed, ttl_s, request))
            await self._client.run_async(steps, is_large=is_large)

    def delete_many(self, owner: str, item_ids: Sequence[str]) -> list[str]:
        """As `engine.Items.delete_many`."""
        if not item_ids:
            return []
        with self._request(owner) as (fence, request):
            return self._client.run(_after(fence, self._delete(owner, item_ids, request)))

    async def delete_many_async(self, owner: str, item_ids: Sequence[str]) -> list[str]:
        """`delete_many` without blocking the event loop."""
        if not item_ids:
            return []
        with self._request(owner) as (fence, request):
            return await self._client.run_async(_after(fence, self._delete(owner, item_ids, request)))

    def _keep(self, owner: str, packed: Mapping[str, Packed], ttl_s: float | None, request: RequestId) -> Steps[None]:
        if self._ahead is not None:
            yield from self._ahead()
        keys = self._keys.items(owner, packed)
        values: list[bytes] = []
        sizes: list[int] = []
        for key, (data, arrays) in zip(keys, packed.values(), strict=True):
            pieces = (yield from self._put_pieces(owner, arrays)) if arrays else None
            value = envelope.wrap(data, key) if pieces is None else envelope.wrap_with_pieces(pieces, data, key)
            values.append(value)
            sizes.append(len(value) + (pieces.size if pieces else 0))
        ttl_ms = 0 if ttl_s is None else max(1, round(min(ttl_s * 1000, LONGEST_TTL_MS)))
        arguments = [*self._once(request), ttl_ms, self._keys.pieces(owner), len(values), *values]
        requests = self._keys.requests(owner, request.client_id)
        if self._most is None:
            command = scripts.call(scripts.SET_ITEMS, [requests, *keys], *arguments)
        else:
            ids_and_sizes = [part for pair in zip(packed, sizes, strict=True) for part in pair]
            bounded = [*self._most, self._keys.item(owner, ""), *ids_and_sizes]
            command = scripts.call(scripts.SET_BOUNDED, [requests, *keys, *self._keys.bounds()], *arguments, *bounded)
        yield Batch(requests, [command], is_write=True, is_large=sum(sizes) > INLINE_BYTES)

    def _put_pieces(self, owner: str, arrays: list[Arrays]) -> Steps[Pieces]:
        pieces, contents = envelope.cut(arrays)
        for key, piece in zip(self._piece_keys(owner, pieces), contents, strict=True):
            # Not over one that is there: a try that arrives late would have the piece end while its item lives.
            yield Batch(key, [("SET", key, piece, "EX", UNREFERENCED_S, "NX")], is_large=True)
        return pieces

    def _delete(self, owner: str, item_ids: Sequence[str], request: RequestId) -> Steps[list[str]]:
        keys = self._keys.items(owner, item_ids)
        requests = self._keys.requests(owner, request.client_id)
        arguments = [*self._once(request), self._keys.pieces(owner), len(keys)]
        if self._most is None:
            command = scripts.call(scripts.DELETE_ITEMS, [requests, *keys], *arguments)
        else:
            command = scripts.call(
                scripts.DELETE_BOUNDED, [requests, *keys, *self._keys.bounds()], *arguments, *item_ids
            )
        (answer,) = yield Batch(requests, [command], is_write=True)
        return [item_id for item_id, was_there in zip(item_ids, answer, strict=True) if was_there == ord("1")]

    def _once(self, request: RequestId) -> tuple[int, int, int]:
        known_ms = NUMBERED_MS if self._requests.has_numbered(request) else KEYED_MS
        return request.number, request.first_incomplete, known_ms

    @contextmanager
    def _request(self, owner: str) -> "Iterator[tuple[Steps[None], RequestId]]":
        """The id of a write, and the steps that keep earlier ones, which failed without an answer, from being done."""
        with self._requests.request() as request:
            try:
                yield self._fence(owner, request), request
            except BaseException as error:
                is_unanswered = isinstance(error, UNANSWERED) or not isinstance(error, Exception)  # or cancelled
                if is_unanswered and self._requests.has_numbered(request):
                    self._given_up.add(request, owner)
                raise
            self._given_up.forget(self._given_up.fenced_off_by(request, owner))

    def _fence(self, writing: str, request: RequestId) -> Steps[None]:
        """Of what the server has that is written to, those that this request does not fence off itself."""
        written = self._keys.owner(writing)
        while self._given_up:
            done = self._given_up.fenced_off_by(request, writing)
            waiting: dict[tuple[str, bytes], list[RequestId]] = {}
            for one, owner in self._given_up.others_than(done):
                if self._client.are_together(written, self._keys.owner(owner)):
                    waiting.setdefault((owner, one.client_id), []).append(one)
            if not waiting:
                return
            (owner, client_id), given_up = next(iter(waiting.items()))
            key = self._keys.requests(owner, client_id)
            numbers = [one.number for one in given_up]
            yield Batch(key, [scripts.call(scripts.GIVE_UP, [key], NUMBERED_MS, *numbers)], is_write=True)
            self._given_up.forget(given_up)


def _after(first: Steps[None], then: Steps[Any]) -> Generator[Batch, list[Any], Any]:
    yield from first
    return (yield from then)


def _bytes_of(packed: Packed) -> int:
    data, arrays = packed
    return len(data) + sum(array.nbytes for array in arrays) if arrays else len(data)


def _repacked(value: Encoded) -> Packed:
    return (value.data, [value.arrays]) if isinstance(value, WithArrays) else (value, [])
