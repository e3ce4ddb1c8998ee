"""What tells a repeated request from a new one: a client numbers its writes, and a store does each of them once."""

import hashlib
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from itertools import count
from typing import Final, NamedTuple
from uuid import uuid4

from seedcore.errors import UNANSWERED, SeedCoreError

FIRST_NUMBER: Final = 1


class RequestId(NamedTuple):
    """The id of one write, by which a store does it once however often it comes.

    Args:
        client_id: unique to one client, such as 16 random bytes.
        number: of the request; a client counts up from 1.
        first_incomplete: the lowest number whose answer the client waits for; up to this one's.
        abandoned: numbers from there on that it gave up on. They are kept from being applied once this request is
            answered, so a client tells of them until then.
    """

    client_id: bytes
    number: int
    first_incomplete: int
    abandoned: Sequence[int] = ()


class _Keyed:
    """The requests of a block with a key.

    Args:
        client_id: that the key makes.
    """

    def __init__(self, client_id: bytes) -> None:
        self.numbers = (RequestId(client_id, number, FIRST_NUMBER) for number in count(FIRST_NUMBER))
        self.is_open = True  # a task that was begun in the block may outlive it


_keyed_requests: ContextVar[_Keyed | None] = ContextVar("keyed_requests", default=None)


@contextmanager
def idempotency_key(key: str) -> Iterator[None]:
    """Whoever makes the writes of this block once more, in the same order and with the same key, gets the first answers
    and changes nothing.

    Args:
        key: unique to this one block, such as the HTTP header Idempotency-Key together with method and path.
    """
    keyed = _Keyed(hashlib.sha256(key.encode()).digest())
    token = _keyed_requests.set(keyed)
    try:
        yield
    finally:
        keyed.is_open = False
        _keyed_requests.reset(token)


class RequestIds:
    """One client. Threads may share it.

    Args:
        answers: what is raised for a request that was answered; all but `UNANSWERED`.
    """

    def __init__(self, answers: tuple[type[Exception], ...] = (SeedCoreError,)) -> None:
        self._answers = answers
        self._begin_anew()
        os.register_at_fork(after_in_child=self._begin_anew)  # where the numbers are another client's

    def _begin_anew(self) -> None:
        self._client_id = uuid4().bytes
        self._lock = threading.Lock()
        self._next_number = FIRST_NUMBER
        self._incomplete: dict[int, None] = {}  # in the order of their numbers
        self._abandoned: set[int] = set()  # of which no answered request has told yet

    def has_numbered(self, request: RequestId) -> bool:
        """Whether it is one of this client, and not of an `idempotency_key`, whose holder may send it again."""
        return request.client_id == self._client_id

    def request(self) -> AbstractContextManager[RequestId]:
        """The id of one request. When the block ends without an answer, the request counts as given up."""
        keyed = _keyed_requests.get()
        return nullcontext(next(keyed.numbers)) if keyed is not None and keyed.is_open else self._numbered()

    def fence(self, request: RequestId) -> AbstractContextManager[RequestId | None]:
        """The id of a request to be done ahead of one that has a key, if there are some that were given up: that one
        is another client's, and keeps none of them from being applied.
        """
        return nullcontext() if self.has_numbered(request) or not self._abandoned else self._numbered()

    @contextmanager
    def _numbered(self) -> Iterator[RequestId]:
        request = self._begin()
        try:
            yield request
        except BaseException as error:
            self._end(request, is_answered=self._is_answer(error))
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
            self._incomplete.pop(request.number, None)  # it may have begun before a fork
            if not is_answered:
                self._abandoned.add(request.number)

    def _told(self, request: RequestId) -> None:
        with self._lock:
            self._abandoned = {
                given_up
                for given_up in self._abandoned
                if given_up >= request.first_incomplete and given_up not in request.abandoned
            }

    def _is_answer(self, error: BaseException) -> bool:
        """Whether the store will not apply the request any more."""
        return isinstance(error, self._answers) and not isinstance(error, UNANSWERED)
