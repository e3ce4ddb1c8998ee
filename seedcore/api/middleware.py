"""What every request passes before its route: the Host header, the bounds of its body, the Idempotency-Key."""

import asyncio
from contextlib import AsyncExitStack
from http import HTTPStatus
from typing import Any, Final

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from seedcore.api.problems import problem
from seedcore.settings import host_name
from seedcore.store.requests import idempotency_key

LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})  # cannot be rebound, and the health check uses it

BODY_TIMEOUT_S: Final = 30.0  # in which a body must come
LARGE_BYTES: Final = 64 * 1024
MAX_LARGE: Final = 2  # at once: a body takes up to 30 times its bytes while it becomes Python objects

# draft-ietf-httpapi-idempotency-key-header
KEY_HEADER: Final = "Idempotency-Key"
KEY_MAX_LENGTH: Final = 255

# For the OpenAPI document of an operation that writes, where no parameter of FastAPI's tells of the header.
KEY_PARAMETER: Final[dict[str, Any]] = {
    "parameters": [
        {
            "name": KEY_HEADER,
            "in": "header",
            "required": False,
            "schema": {"type": "string", "minLength": 1, "maxLength": KEY_MAX_LENGTH},
            "description": "Unique to this request, such as a UUID. A client that got no answer sends the same request "
            "again with the same key, and gets the first answer if there was one; nothing is changed a second time. "
            "Known for a week.",
        }
    ]
}


class HostGuard:
    """Refuses other Host headers than the allowed ones, so that a page on the web cannot reach the API by rebinding
    its own host name to 127.0.0.1.

    Args:
        app: what to guard.
        allowed_hosts: by `host_name`; those of this machine itself are always allowed.
    """

    def __init__(self, app: ASGIApp, allowed_hosts: list[str]) -> None:
        self._app = app
        self._allowed = LOOPBACK.union(allowed_hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection (ASGI)."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        host = Headers(scope=scope).get("host", "")
        if host_name(host) in self._allowed:
            await self._app(scope, receive, send)
            return
        refusal = problem(
            HTTPStatus.MISDIRECTED_REQUEST,
            f"the Host header says {host!r}; allowed are {', '.join(sorted(self._allowed))}: see API_ALLOWED_HOSTS",
        )
        await refusal(scope, receive, send)


class BodyLimit:
    """Hands a request on with its whole body. Refuses a body above the limit with 413, one that does not come with 408.

    Args:
        app: what gets the request.
        max_bytes: of one body, `API_MAX_BODY_BYTES`.
        timeout_s: seconds in which a body must come.
    """

    def __init__(self, app: ASGIApp, max_bytes: int, timeout_s: float = BODY_TIMEOUT_S) -> None:
        self._app = app
        self._max_bytes = max_bytes
        self._timeout_s = timeout_s
        self._turn_of_large = asyncio.Semaphore(MAX_LARGE)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection (ASGI)."""
        headers = Headers(scope=scope) if scope["type"] == "http" else Headers()
        length = headers.get("content-length", "")
        size = float(length) if length.isdecimal() else 0.0  # its digits have no limit
        if "transfer-encoding" in headers:  # which overrides the length (RFC 9112, 6.3)
            size = self._max_bytes
        if not size:
            await self._app(scope, receive, send)
            return
        async with AsyncExitStack() as turn:
            if size > LARGE_BYTES:
                await turn.enter_async_context(self._turn_of_large)
            try:
                async with asyncio.timeout(self._timeout_s):
                    receive_body = _once(await self._read(receive, size), receive)
            except TimeoutError:
                detail = f"the request body did not come within {self._timeout_s:g} s. Send it again."
                await _refuse(HTTPStatus.REQUEST_TIMEOUT, detail, scope, receive, send)
            except _TooLargeError:
                detail = f"the request body is larger than API_MAX_BODY_BYTES={self._max_bytes}"
                await _refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, detail, scope, receive, send)
            except _GoneError:
                pass  # nobody is there to be answered
            else:
                await self._app(scope, receive_body, send if size <= LARGE_BYTES else _ending(turn, send))

    async def _read(self, receive: Receive, size: float) -> bytes:
        if size > self._max_bytes:
            raise _TooLargeError
        body = bytearray()
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise _GoneError
            body += message.get("body", b"")
            if len(body) > self._max_bytes:
                raise _TooLargeError
            if not message.get("more_body", False):
                return bytes(body)


def _ending(turn: AsyncExitStack, send: Send) -> Send:
    """A `send` that ends the turn when the answer begins: it may go on for hours, and needs the body no more."""

    async def send_after_turn(message: Message) -> None:
        await turn.aclose()
        await send(message)

    return send_after_turn


class _TooLargeError(Exception):
    pass


class _GoneError(Exception):
    pass


async def _refuse(status: HTTPStatus, detail: str, scope: Scope, receive: Receive, send: Send) -> None:
    answer = problem(status, detail)
    answer.headers["connection"] = "close"  # the rest of the body is not read
    await answer(scope, receive, send)


def _once(body: bytes, receive: Receive) -> Receive:
    """A `receive` that has the body first."""
    unread: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive_body() -> Message:
        return unread.pop() if unread else await receive()

    return receive_body


class Idempotency:
    """Does the writes of a request with a key once, however often the request comes.

    Args:
        app: what answers it.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection (ASGI)."""
        key = Headers(scope=scope).get(KEY_HEADER) if scope["type"] == "http" else None
        if key is None:
            await self._app(scope, receive, send)
        elif not 0 < len(key) <= KEY_MAX_LENGTH:
            detail = f"header {KEY_HEADER}: it must have 1 to {KEY_MAX_LENGTH} characters, not {len(key)}"
            await problem(HTTPStatus.UNPROCESSABLE_ENTITY, detail)(scope, receive, send)
        else:
            with idempotency_key(f"{scope['method']} {scope['raw_path'].decode('latin-1')} {key}"):
                await self._app(scope, receive, send)
