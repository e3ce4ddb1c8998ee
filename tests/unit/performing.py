"""Calls of an actor in this process, as its clients make them."""

from typing import Any

from seedcore.actors.calls import Call, pack_calls, unpack_answers
from seedcore.actors.memory_actor import MemoryActor
from seedcore.actors.store_keeper import StoreKeeper
from seedcore.store.requests import RequestId


def do(actor: MemoryActor, method: str, *arguments: object, request: RequestId | None = None) -> Any:
    """The result of one call, or the error that it ended with."""
    (answer,) = unpack_answers(actor.perform(pack_calls([Call(method, arguments, request)])))
    if answer.error is not None:
        raise answer.error
    return answer.result


def keeper_of(actor: MemoryActor) -> StoreKeeper:
    """What keeps the file of an actor."""
    keeper = actor._keeper
    assert isinstance(keeper, StoreKeeper)
    return keeper
