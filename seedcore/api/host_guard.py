"""Refuses requests that another site's page may have sent: those with an unknown Host header."""

import re
from http import HTTPStatus
from typing import Final

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

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
