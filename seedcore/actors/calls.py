"""What travels between a client and an actor of the working memory: calls, several in one, and their answers.

Both are lists of plain data, which Ray packs with msgpack; a class of ours in them would be pickled, and a call with
several arguments packed one by one, each of which takes a tenth of the whole call.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

from seedcore.errors import SeedCoreError
from seedcore.store.sqlite.request_log import RequestId


class Call(NamedTuple):
    """A call of a method of an actor.

    Args:
        method: its name.
        arguments: by position.
        request: the last argument of a method that does it once, however often it comes.
    """

    method: str
    arguments: tuple[Any, ...]
    request: RequestId | None = None


class Answer(NamedTuple):
    """What came of a call.

    Args:
        result: what the method returned.
        error: what it raised instead.
    """

    result: Any = None
    error: SeedCoreError | None = None


def pack_calls(calls: Iterable[Call]) -> list[Any]:
    """The calls as plain data."""
    return [
        [call.method, list(call.arguments), None if call.request is None else _packed(call.request)] for call in calls
    ]


def unpack_calls(packed: list[Any]) -> list[Call]:
    """The calls that were packed."""
    return [
        Call(method, tuple(arguments), None if request is None else _unpacked(request))
        for method, arguments, request in packed
    ]


def pack_answers(answers: Iterable[Answer]) -> list[Any]:
    """The answers as plain data, but for errors."""
    return [list(answer) for answer in answers]


def unpack_answers(packed: list[Any]) -> list[Answer]:
    """The answers that were packed."""
    return [Answer(*answer) for answer in packed]


def _packed(request: RequestId) -> list[Any]:
    return [request.client_id, request.number, request.first_incomplete, list(request.abandoned)]


def _unpacked(request: list[Any]) -> RequestId:
    client_id, number, first_incomplete, abandoned = request
    return RequestId(client_id, number, first_incomplete, tuple(abandoned))
