"""Reads request bodies within bounds: of each, of all at once, and of the time that they take."""

import asyncio
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any, Final

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from seedcore.api.memory_budget import MemoryBudget, Share, current_share
from seedcore.api.problems import problem

SMALL_BODY_BYTES: Final = 64 * 1024
SMALL_BUDGET_BYTES: Final = 4 * 2**20  # of all small bodies at once, so that they never wait for large ones
MAX_WAITING: Final = 256  # requests that wait for room; uvicorn has read up to 320 KiB of each
ROOM_TIMEOUT_S: Final = 30.0  # that a request waits for room
BODY_TIMEOUT_S: Final = 30.0  # in which the next PROGRESS_BYTES of a body must come, or its end
PROGRESS_BYTES: Final = 64 * 1024
RETRY_AFTER_S: Final = 5


class BodyLimit:
    """Hands a request on with its whole body, which takes its share of memory before any of it is read, and gives it
    back when the request is done.

    A body above the limit is refused with 413: by its Content-Length at once, else as soon as it has grown too large.
    A body that does not come is refused with 408, and one that there is no room for in time with 503.

    Args:
        app: what gets the request.
        max_bytes: of one body, `API_MAX_BODY_BYTES`.
        max_buffered_bytes: of all large bodies at once, `API_MAX_BUFFERED_BYTES`; at least `max_bytes`.
        room_timeout_s: seconds that a request waits for room.
        body_timeout_s: seconds in which a body must make progress.
    """

    def __init__(
        self,
        app: ASGIApp,
        max_bytes: int,
        max_buffered_bytes: int,
        room_timeout_s: float = ROOM_TIMEOUT_S,
        body_timeout_s: float = BODY_TIMEOUT_S,
    ) -> None:
        self._app = app
        self._max_bytes = max_bytes
        self._small = MemoryBudget(SMALL_BUDGET_BYTES)
        self._large = MemoryBudget(max_buffered_bytes)
        self._room_timeout_s = room_timeout_s
        self._body_timeout_s = body_timeout_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection (ASGI)."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        size = self._size(Headers(scope=scope))
        if size is None:
            await self._too_large()(scope, receive, send)
            return
        share = (self._small if size <= SMALL_BODY_BYTES else self._large).ask(size)
        current_share.set(share)
        try:
            answer = await self._read(share, receive)
            await answer(scope, receive, send)
        except ClientDisconnect:
            pass  # nobody is there to be answered
        finally:
            share.release()

    def _size(self, headers: Headers) -> int | None:
        """The most bytes that the body may have; None if that is too much."""
        length = headers.get("content-length", "")
        if not length.isdecimal():
            return self._max_bytes if "transfer-encoding" in headers else 0
        return int(length) if float(length) <= self._max_bytes else None  # a float, whose digits have no limit

    async def _read(self, share: Share, receive: Receive) -> ASGIApp:
        """The application with the body for it, or a refusal."""
        if self._small.waiting + self._large.waiting > MAX_WAITING and not share.room.done():
            return self._no_room(f"{MAX_WAITING} requests wait already")
        body = _Body(receive, self._max_bytes)
        try:
            try:
                async with asyncio.timeout(self._room_timeout_s):
                    await body.wait_for(share.room)
            except TimeoutError:
                return self._no_room(f"none for {self._room_timeout_s:g} s")
            while not body.is_complete:
                async with asyncio.timeout(self._body_timeout_s):
                    await body.read(PROGRESS_BYTES)
        except TimeoutError:
            return self._too_slow()
        except _TooLargeError:
            return self._too_large()
        finally:
            body.stop()
        return _WithBody(self._app, body.take())

    def _too_large(self) -> ASGIApp:
        return _refusal(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"the request body is larger than API_MAX_BODY_BYTES={self._max_bytes}"
        )

    def _too_slow(self) -> ASGIApp:
        return _refusal(
            HTTPStatus.REQUEST_TIMEOUT,
            f"less than {PROGRESS_BYTES} bytes of the request body came in {self._body_timeout_s:g} s. Send it again.",
        )

    def _no_room(self, reason: str) -> ASGIApp:
        return _refusal(
            HTTPStatus.SERVICE_UNAVAILABLE,
            f"no room for the request body: {reason}. Send it again later, or raise API_MAX_BUFFERED_BYTES.",
            {"retry-after": str(RETRY_AFTER_S)},
        )


class _TooLargeError(Exception):
    pass


class _Body:
    def __init__(self, receive: Receive, max_bytes: int) -> None:
        self.is_complete = False
        self._receive = receive
        self._max_bytes = max_bytes
        self._data = bytearray()
        self._arrival: asyncio.Task[Message] | None = None

    async def wait_for(self, room: asyncio.Future[None]) -> None:
        """Wait for room, and for the client to go away; reads no more than that needs."""
        while not room.done():
            if self._arrival is None and not self.is_complete and len(self._data) < SMALL_BODY_BYTES:
                self._arrival = asyncio.ensure_future(_awaited(self._receive))
            waits: list[asyncio.Future[Any]] = [room] if self._arrival is None else [room, self._arrival]
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            if self._arrival is not None and self._arrival.done():
                await self._read_message()

    async def read(self, size: int) -> None:
        """Read so many bytes more, or to the end."""
        enough = len(self._data) + size
        while not self.is_complete and len(self._data) < enough:
            await self._read_message()

    def take(self) -> bytes:
        """The bytes, which are gone here."""
        data, self._data = bytes(self._data), bytearray()
        return data

    def stop(self) -> None:
        """Read no more."""
        if self._arrival is not None:
            self._arrival.cancel()

    async def _read_message(self) -> None:
        arrival, self._arrival = self._arrival, None
        message = await (self._receive() if arrival is None else arrival)
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        self._data += message.get("body", b"")
        self.is_complete = not message.get("more_body", False)
        if len(self._data) > self._max_bytes:
            raise _TooLargeError


class _WithBody:
    def __init__(self, app: ASGIApp, body: bytes) -> None:
        self._app = app
        self._message: Message | None = {"type": "http.request", "body": body, "more_body": False}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def replayed() -> Message:
            message, self._message = self._message, None
            return await receive() if message is None else message

        await self._app(scope, replayed, send)


def _refusal(status: HTTPStatus, detail: str, headers: dict[str, str] | None = None) -> ASGIApp:
    answer = problem(status, detail)
    answer.headers["connection"] = "close"  # the rest of the body is not read
    answer.headers.update(headers or {})
    return answer


async def _awaited(receive: Callable[[], Awaitable[Message]]) -> Message:
    return await receive()
