"""What a request must pass before any route: a known Host header, and a body within the limit."""

import re
from http import HTTPStatus
from typing import Final

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from seedcore.api.problems import problem

LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})  # cannot be rebound, and the health check uses it
HOST_AND_PORT: Final = re.compile(r"(\[(?P<ipv6>[0-9A-Fa-f:.]+)\]|(?P<name>[^:\[\]@/]+))(:[0-9]*)?")


class HostGuard:
    """Refuses other Host headers than the allowed ones, so that a page on the web cannot reach the API by rebinding
    its own host name to 127.0.0.1.

    Args:
        app: what to guard.
        allowed_hosts: names without port; those of this machine itself are always allowed.
    """

    def __init__(self, app: ASGIApp, allowed_hosts: list[str]) -> None:
        self._app = app
        self._allowed = {host.lower() for host in allowed_hosts} | LOOPBACK

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection (ASGI)."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        host = _without_port(Headers(scope=scope).get("host", ""))
        if host in self._allowed:
            await self._app(scope, receive, send)
            return
        refusal = problem(
            HTTPStatus.MISDIRECTED_REQUEST,
            f"the Host header says {host!r}; allowed are {', '.join(sorted(self._allowed))}: see API_ALLOWED_HOSTS",
        )
        await refusal(scope, receive, send)


def _without_port(host: str) -> str:
    parts = HOST_AND_PORT.fullmatch(host)
    return (parts["ipv6"] or parts["name"]).lower() if parts else host


class BodyLimit:
    """Refuses a request body above the limit: by its Content-Length at once, else as soon as it has grown too large.

    Args:
        app: what to guard.
        max_bytes: `API_MAX_BODY_BYTES`.
    """

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self._app = app
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection (ASGI)."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        length = Headers(scope=scope).get("content-length", "")
        if length.isdecimal() and float(length) > self._max_bytes:  # a float, whose digits have no limit
            await self._refuse(scope, receive, send)
            return
        messages = await self._read(receive)
        if messages is None:
            await self._refuse(scope, receive, send)
            return
        await self._app(scope, _replay(messages, receive), send)

    async def _read(self, receive: Receive) -> list[Message] | None:
        # The routes need the whole body anyway, so nothing is lost by reading it here.
        messages: list[Message] = []
        size = 0
        while True:
            message = await receive()
            messages.append(message)
            size += len(message.get("body", b""))
            if size > self._max_bytes:
                return None
            if message["type"] != "http.request" or not message.get("more_body", False):
                return messages

    async def _refuse(self, scope: Scope, receive: Receive, send: Send) -> None:
        refusal = problem(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"the request body is larger than API_MAX_BODY_BYTES={self._max_bytes}"
        )
        refusal.headers["connection"] = "close"  # the rest of the body is not read
        await refusal(scope, receive, send)


def _replay(messages: list[Message], receive: Receive) -> Receive:
    waiting = iter(messages)

    async def replayed() -> Message:
        for message in waiting:
            return message
        return await receive()

    return replayed
