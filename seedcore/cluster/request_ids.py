"""Numbers the writes of this process to one actor, so that the actor does each of them once and in no wrong order."""

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import count
from typing import Final
from uuid import uuid4

from ray.exceptions import RayTaskError

from seedcore.errors import ActorNotFoundError, ActorUnavailableError, SeedCoreError
from seedcore.store.requests import RequestId

FIRST_NUMBER: Final = 1

_keyed_requests: ContextVar[Iterator[RequestId] | None] = ContextVar("keyed_requests", default=None)


@contextmanager
def idempotency_key(key: str) -> Iterator[None]:
    """Whoever makes the writes of this block once more, in the same order and with the same key, gets the first answers
    and changes nothing.

    Args:
        key: unique to this one block, such as the HTTP header Idempotency-Key together with method and path.
    """
    client_id = hashlib.sha256(key.encode()).digest()
    token = _keyed_requests.set(RequestId(client_id, number, FIRST_NUMBER) for number in count(FIRST_NUMBER))
    try:
        yield
    finally:
        _keyed_requests.reset(token)


class RequestIds:
    """One client in the sense of `seedcore.store.sqlite.request_log`. Threads may share it."""

    def __init__(self) -> None:
        self._client_id = uuid4().bytes
        self._lock = threading.Lock()
        self._next_number = FIRST_NUMBER
        self._incomplete: dict[int, None] = {}  # in the order of their numbers
        self._abandoned: set[int] = set()  # of which no answered request has told the actor yet

    @contextmanager
    def request(self) -> Iterator[RequestId]:
        """The id of one request. When the block ends without the actor's answer, the request counts as given up."""
        keyed = _keyed_requests.get()
        if keyed is not None:
            yield next(keyed)
            return
        request = self._begin()
        try:
            yield request
        except BaseException as error:
            self._end(request, is_answered=_is_answer(error))
            raise
        self._end(request, is_answered=True)
        self._told(request)

    def _begin(self) -> RequestId:
        with self._lock:
            number = self._next_number
            self._next_number += 1
            self._incomplete[number] = None
            first_incomplete = next(iter(self._incomplete))
            abandoned = tuple(sorted(given_up for given_up in self._abandoned if given_up > first_incomplete))
        return RequestId(self._client_id, number, first_incomplete, abandoned)

    def _end(self, request: RequestId, *, is_answered: bool) -> None:
        with self._lock:
            del self._incomplete[request.number]
            if not is_answered:
                self._abandoned.add(request.number)

    def _told(self, request: RequestId) -> None:
        with self._lock:
            self._abandoned = {
                given_up
                for given_up in self._abandoned
                if given_up > request.first_incomplete and given_up not in request.abandoned
            }


def _is_answer(error: BaseException) -> bool:
    """Whether it came from the actor, which then will not apply the request any more."""
    if isinstance(error, ActorNotFoundError | ActorUnavailableError):
        return False
    return isinstance(error, SeedCoreError | RayTaskError)
