"""Calls one singleton actor: finds it, waits for it while it restarts, and finds it again after it was killed."""

import asyncio
import threading
import time
from collections.abc import Iterable, Sequence
from functools import cache, partial
from typing import Any, Final

import ray
from ray.actor import ActorHandle
from ray.exceptions import ActorDiedError, RayTaskError

from seedcore.actors.calls import Answer, Call, pack_calls, unpack_answers
from seedcore.actors.local_calls import LocalCalls
from seedcore.cluster.bootstrap import get_singleton
from seedcore.cluster.explain import explain_silence
from seedcore.cluster.singletons import store_of
from seedcore.errors import ActorUnavailableError, SeedCoreError
from seedcore.event_loop import INLINE_BYTES, OfEachLoop, in_thread
from seedcore.gathered_calls import GatheredCalls
from seedcore.settings import Settings
from seedcore.store.requests import RequestId, RequestIds

ELEMENT_BYTES: Final = 50  # what a key or an id costs beside a value


class ActorClient:
    """The way to one singleton from this process. Threads and event loops may share it.

    Args:
        name: the actor's name.
        settings: its namespace, and how long to wait.
    """

    def __init__(self, name: str, settings: Settings) -> None:
        self.name = name
        self._settings = settings
        self._handle: ActorHandle[Any] | None = None
        self._job_id: str | None = None
        self._local = LocalCalls(settings.state_dir / store_of(name, settings))
        self._requests = RequestIds(answers=(SeedCoreError, RayTaskError))
        self._gathered = OfEachLoop(lambda: GatheredCalls(self._send, settings.call_deadline_s))

    @property
    def known_handle(self) -> ActorHandle[Any] | None:
        """The handle, if it was found in this connection to Ray already; never waits."""
        if self._handle is None or not ray.is_initialized():
            return None
        # A handle of a connection that has ended does not work in the next one.
        return self._handle if ray.get_runtime_context().get_job_id() == self._job_id else None

    def find(self) -> ActorHandle[Any]:
        """The handle, looked up if it is not known.

        Raises:
            ActorNotFoundError, ActorUnavailableError: as `seedcore.get_singleton`.
        """
        handle = self.known_handle
        if handle is None:
            handle = get_singleton(self.name, self._settings)
            self._handle, self._job_id = handle, ray.get_runtime_context().get_job_id()
        return handle

    async def find_async(self) -> ActorHandle[Any]:
        """`find` without blocking the event loop."""
        handle = self.known_handle
        return await asyncio.wrap_future(in_thread(self.find)) if handle is None else handle

    def call(self, method: str, *arguments: object) -> Any:
        """Call a method of the actor and wait for its result, for at most `CALL_DEADLINE_S`.

        Raises:
            ActorUnavailableError: no answer within the deadline.
            SeedCoreError: what the method raised.
        """
        return self.perform([Call(method, arguments)])

    async def call_async(self, method: str, *arguments: object) -> Any:
        """`call` without blocking the event loop. Calls at the same time travel together."""
        return await self._perform_async([Call(method, arguments)])

    def write(self, method: str, *arguments: object, ahead: Sequence[Call] = ()) -> Any:
        """`call` of a method that changes something: done once, however often it is sent.

        When it fails without the actor's answer, it is not done any more after a write that this process began later.

        Args:
            method: of the actor.
            arguments: by position.
            ahead: calls that the actor does before it.
        """
        with self._requests.request() as request, self._requests.fence(request) as fence:
            return self.perform([*ahead, *_nothing(fence), Call(method, arguments, request)])

    async def write_async(self, method: str, *arguments: object, ahead: Sequence[Call] = ()) -> Any:
        """`write` without blocking the event loop; cancelled, it counts as failed."""
        with self._requests.request() as request, self._requests.fence(request) as fence:
            return await self._perform_async([*ahead, *_nothing(fence), Call(method, arguments, request)])

    def perform(self, calls: list[Call]) -> Any:
        """Have the actor do these calls, in their order; the result of the last. Raises as `call`."""
        deadline = time.monotonic() + self._settings.call_deadline_s
        try:
            answers = self._local.perform(calls, self._settings.call_deadline_s)
            return _result((self._through_ray(calls, deadline) if answers is None else answers)[-1])
        except TimeoutError as error:
            raise self._silent(calls[-1].method) from error

    def _through_ray(self, calls: list[Call], deadline: float) -> list[Answer]:
        while True:
            handle = self.find()
            try:
                return unpack_answers(self._wait(self._submit(handle, calls), deadline))
            except ActorDiedError:
                self.forget(handle)
                self._require_time(deadline)
            except RayTaskError as error:
                raise _unwrapped(error) from error

    async def _perform_async(self, calls: list[Call]) -> Any:
        if len(calls) > 1 or _bytes_in(calls[0].arguments) > INLINE_BYTES:
            return _result((await self._send(calls))[-1])
        try:
            return _result(await self._gathered.get().call(calls[0]))
        except TimeoutError as error:
            raise await asyncio.wrap_future(in_thread(partial(self._silent, calls[0].method))) from error

    async def _send(self, calls: list[Call]) -> list[Answer]:
        deadline = time.monotonic() + self._settings.call_deadline_s
        is_small = sum(_bytes_in(call.arguments) for call in calls) <= INLINE_BYTES
        try:
            answers = await self._local.perform_async(calls, self._settings.call_deadline_s, is_small=is_small)
            return await self._through_ray_async(calls, deadline, is_small=is_small) if answers is None else answers
        except TimeoutError as error:
            raise await asyncio.wrap_future(in_thread(partial(self._silent, calls[0].method))) from error

    async def _through_ray_async(self, calls: list[Call], deadline: float, *, is_small: bool) -> list[Answer]:
        while True:
            handle = await self.find_async()
            try:
                # Ray copies the arguments before it returns, and waits when its object store is full.
                submit = partial(self._submit, handle, calls)
                reference = submit() if is_small else await asyncio.to_thread(submit)
                async with asyncio.timeout(_left(deadline)):  # wait_for of Python 3.11 may swallow a cancellation
                    return unpack_answers(await asyncio.wrap_future(reference.future()))
            except ActorDiedError:
                self.forget(handle)
                self._require_time(deadline)
            except RayTaskError as error:
                raise _unwrapped(error) from error

    def _submit(self, handle: Any, calls: list[Call]) -> Any:
        try:
            perform = handle.perform
        except AttributeError:
            raise ActorUnavailableError(
                f"actor '{self.name}' in namespace '{self._settings.ray_namespace}' runs older code than this process, "
                "which cannot talk to it. `make reload-actors` gives it the code on the disk"
            ) from None
        return perform.remote(pack_calls(calls))

    def _wait(self, reference: Any, deadline: float) -> Any:
        return ray.get(reference, timeout=_left(deadline))

    def close(self) -> None:
        """End the connections that nobody uses now."""
        self._local.close()

    def forget(self, handle: ActorHandle[Any]) -> None:
        """Look the actor up again next time, since this handle's actor was killed for good."""
        if self._handle is handle:
            self._handle = None

    def _require_time(self, deadline: float) -> None:
        if time.monotonic() >= deadline:
            raise self._silent("any call")

    def _silent(self, method: str) -> ActorUnavailableError:
        return ActorUnavailableError(
            f"actor '{self.name}' in namespace '{self._settings.ray_namespace}' did not answer {method} within "
            f"CALL_DEADLINE_S={self._settings.call_deadline_s:g}. {explain_silence(self._settings)}"
        )


_making: Final = threading.Lock()


def actor_client(name: str, settings: Settings) -> ActorClient:
    """This process's one client of the actor, so that it is looked up once."""
    with _making:
        return _actor_client(name, settings)


@cache
def _actor_client(name: str, settings: Settings) -> ActorClient:
    return ActorClient(name, settings)


def _nothing(request: RequestId | None) -> list[Call]:
    """A write of nothing, by which the actor learns what the request tells."""
    return [Call("delete_many", ("", []), request)] if request is not None else []


def _result(answer: Answer) -> Any:
    if answer.error is not None:
        raise answer.error
    return answer.result


def _left(deadline: float) -> float:
    return max(0.0, deadline - time.monotonic())


def _bytes_in(arguments: Iterable[object]) -> int:
    """Bytes, roughly, in arguments that are items or ids; others are small."""
    size = 0
    for argument in arguments:
        if isinstance(argument, dict):
            size += ELEMENT_BYTES * len(argument)
            for value in argument.values():
                size += len(value) if isinstance(value, bytes) else INLINE_BYTES  # a list has large arrays in it
        elif isinstance(argument, list):
            size += ELEMENT_BYTES * len(argument)
    return size


def _unwrapped(error: RayTaskError) -> BaseException:
    # Errors of ours cross from the actor as they are; others keep Ray's wrapping with the remote traceback.
    return error.cause if isinstance(error.cause, SeedCoreError) else error
