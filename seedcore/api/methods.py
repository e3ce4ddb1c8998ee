"""Which methods a path has; HEAD wherever there is GET."""

from typing import Final

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
