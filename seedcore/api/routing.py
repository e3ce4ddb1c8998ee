"""Which route answers a request: found by the path as it was sent, and one for GET answers HEAD as well."""

from typing import Final
from urllib.parse import unquote

from fastapi.routing import APIRoute
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

METHODS: Final = ("GET", "HEAD", "PUT", "POST", "DELETE", "PATCH", "OPTIONS")


def allowed_methods(scope: Scope) -> list[str]:
    """The methods that the routes of the application declare for the path of a request, and HEAD beside GET."""
    declared = {method for method in METHODS if _is_declared(method, scope)}
    return [method for method in METHODS if method in declared or (method == "HEAD" and "GET" in declared)]


def _is_declared(method: str, scope: Scope) -> bool:
    asked = {**scope, "method": method}
    return any(route.matches(asked)[0] == Match.FULL for route in scope["app"].routes)


class HeadAsGet:
    """Answers HEAD as the route for GET does, without the body, unless a route for HEAD is declared.

    Args:
        app: what answers GET.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection (ASGI)."""
        if scope["type"] != "http" or scope["method"] != "HEAD" or _is_declared("HEAD", scope):
            await self._app(scope, receive, send)
            return

        async def send_head(message: Message) -> None:
            await send({**message, "body": b""} if message["type"] == "http.response.body" else message)

        await self._app({**scope, "method": "GET"}, receive, send_head)


class RawPathRoute(APIRoute):
    """A route that is found by the path as it was sent, and whose parameters are decoded one by one (RFC 3986, 2.4), so
    that a slash may be part of an id.

    What is not UTF-8 becomes lone surrogates, which no parameter of type str takes.
    """

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Whether it is the route of a request, and with which parameters."""
        raw_path: bytes = scope.get("raw_path") or b""
        if b"%" not in raw_path:
            return super().matches(scope)
        match, found = super().matches({**scope, "path": raw_path.decode("latin-1")})
        if match != Match.NONE:
            parameters = found["path_params"]
            parameters |= {name: unquote(parameters[name], errors="surrogateescape") for name in self.param_convertors}
        return match, found
