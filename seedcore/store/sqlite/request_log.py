"""Exactly once: a write that its caller repeats is done one time, and its first result is answered again.

This is RIFL, of Lee, Park, Kejriwal, Matsushita, Ousterhout: Implementing Linearizability at Large Scale and Low
Latency, SOSP 2015. A client numbers its requests. The result of each is written in the transaction of its effect, so
that either both are there after a crash or none. A client tells with each request from which number on it still waits
for answers; what is below needs no record any more, and a straggler from there is refused. It also tells which
later requests it gave up on, so that those are never applied afterwards.
"""

import math
import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeVar

import msgpack

from seedcore.errors import RequestAbandonedError
from seedcore.store.requests import RequestId

T = TypeVar("T")

CLIENT_LIFETIME_S: Final = 7 * 24 * 3600.0  # after which a client that was not seen counts as dead
SEEN_EVERY_S: Final = 3600.0  # how often it is written down that a client was seen
TIDY_EVERY: Final = 16  # requests of a client, after which its records that nobody waits for are deleted
MAX_CLIENTS: Final = 100_000  # of which the process remembers what they told
ABANDONED: Final = b""  # in place of the result of a request that was given up before it was applied


@dataclass
class _Client:
    first_incomplete: int
    last_seen: float  # as it is written down
    highest: int  # no request with a higher number is in the file


class RequestLog:
    """The requests of one store. What it remembers beside the file are things that clients told, so a transaction
    that is rolled back takes nothing of it back.

    Args:
        epoch: while it is the same, nobody else has written to the file; see `Database.epoch`.
        clock: seconds since the epoch; what the life of a client is measured by.
    """

    def __init__(self, epoch: Callable[[], int] = lambda: 0, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._epoch = epoch
        self._epoch_of_clients = epoch()
        self._clients: dict[bytes, _Client] = {}
        self._forgot_at = clock()

    def once(
        self,
        connection: sqlite3.Connection,
        request: RequestId | None,
        operation: Callable[[], T],
    ) -> T:
        """Run the operation unless this request was run before; its result either way.

        Args:
            connection: inside a transaction, which must be rolled back on any error.
            request: None runs the operation however often it is asked for.
            operation: its result must be data of msgpack, since it is kept.

        Raises:
            RequestAbandonedError: the client gave up on this request, and it is not applied.
        """
        if request is None:
            return operation()
        client_id, number, _, abandoned = request
        client = self._seen(connection, request)
        may_be_known = number <= client.highest
        client.highest = max(client.highest, number, *abandoned)
        if number < client.first_incomplete or number in abandoned:
            raise _abandoned(request)
        if abandoned:
            connection.executemany(
                # One that was applied already stays as it is.
                "INSERT INTO requests VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
                [
                    (client_id, given_up, ABANDONED, client.first_incomplete)
                    for given_up in abandoned
                    if given_up >= client.first_incomplete
                ],
            )
        if may_be_known:
            known = connection.execute(
                "SELECT result FROM requests WHERE client_id = ? AND number = ?", (client_id, number)
            ).fetchone()
            if known is not None:
                if known[0] == ABANDONED:
                    raise _abandoned(request)
                return msgpack.unpackb(known[0])  # type: ignore[no-any-return]
        result = operation()
        connection.execute(
            "INSERT INTO requests VALUES (?, ?, ?, ?)",
            (client_id, number, msgpack.packb(result), client.first_incomplete),
        )
        return result

    def _seen(self, connection: sqlite3.Connection, request: RequestId) -> _Client:
        client_id, number, first_incomplete, _ = request
        if self._epoch() != self._epoch_of_clients:
            self._epoch_of_clients = self._epoch()
            self._clients.clear()
        client = self._clients.get(client_id)
        if client is None:
            if len(self._clients) >= MAX_CLIENTS:
                self._clients.clear()
            remembered, highest = connection.execute(
                "SELECT max(first_incomplete), max(number) FROM (SELECT first_incomplete, 0 AS number FROM clients "
                "WHERE client_id = ?1 UNION ALL SELECT first_incomplete, number FROM requests WHERE client_id = ?1)",
                (client_id,),
            ).fetchone()
            client = self._clients[client_id] = _Client(remembered or 0, -math.inf, highest or 0)
        client.first_incomplete = max(client.first_incomplete, first_incomplete)
        now = self._clock()
        if number % TIDY_EVERY == 0 or now - client.last_seen >= SEEN_EVERY_S:
            client.last_seen = now
            connection.execute(
                "INSERT INTO clients VALUES (?, ?, ?) ON CONFLICT (client_id) DO UPDATE SET first_incomplete = "
                "max(first_incomplete, excluded.first_incomplete), last_seen = excluded.last_seen",
                (client_id, client.first_incomplete, now),
            )
            connection.execute(
                "DELETE FROM requests WHERE client_id = ? AND number < ?", (client_id, client.first_incomplete)
            )
        if now - self._forgot_at >= SEEN_EVERY_S:  # a writer may live for months
            self._forgot_at = now
            _forget(connection, now)
        return client


def forget_dead_clients(connection: sqlite3.Connection, now: float) -> None:
    """Delete what is kept for clients that were not seen for `CLIENT_LIFETIME_S`, inside an open transaction."""
    connection.execute(
        "INSERT INTO clients SELECT client_id, max(first_incomplete), ? FROM requests GROUP BY client_id "
        "ON CONFLICT DO NOTHING",
        (now,),
    )
    _forget(connection, now)


def _forget(connection: sqlite3.Connection, now: float) -> None:
    last_seen = now - CLIENT_LIFETIME_S
    connection.execute(
        "DELETE FROM requests WHERE client_id IN (SELECT client_id FROM clients WHERE last_seen < ?)", (last_seen,)
    )
    connection.execute("DELETE FROM clients WHERE last_seen < ?", (last_seen,))


def _abandoned(request: RequestId) -> RequestAbandonedError:
    return RequestAbandonedError(
        f"request {request.number} of client {request.client_id.hex()} was given up by its caller, or answered before; "
        "this repetition of it was not applied. If the caller still wants it, send it as a new request"
    )
