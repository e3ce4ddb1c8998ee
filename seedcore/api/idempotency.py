"""The Idempotency-Key header (draft-ietf-httpapi-idempotency-key-header): a retried write changes nothing once more."""

from http import HTTPStatus
from typing import Any, Final

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from seedcore.api.problems import problem
from seedcore.cluster.request_ids import idempotency_key

NAME: Final = "Idempotency-Key"
MAX_LENGTH: Final = 255

# For the OpenAPI document of an operation that writes, where no parameter of FastAPI's tells of the header.
PARAMETER: Final[dict[str, Any]] = {
    "parameters": [
        {
            "name": NAME,
            "in": "header",
            "required": False,
            "schema": {"type": "string", "minLength": 1, "maxLength": MAX_LENGTH},
            "description": "Unique to this request, such as a UUID. A client that got no answer sends the same request "
            "again with the same key, and gets the first answer if there was one; nothing is changed a second time. "
            "Known for a week.",
        }
    ]
}


class Idempotency:
    """Does the writes of a request with a key once, however often the request comes.

    Args:
        app: what answers it.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection (ASGI)."""
        key = Headers(scope=scope).get(NAME) if scope["type"] == "http" else None
        if key is None:
            await self._app(scope, receive, send)
        elif not 0 < len(key) <= MAX_LENGTH:
            detail = f"header {NAME}: it must have 1 to {MAX_LENGTH} characters, not {len(key)}"
            await problem(HTTPStatus.UNPROCESSABLE_ENTITY, detail)(scope, receive, send)
        else:
            with idempotency_key(f"{scope['method']} {scope['path']} {key}"):
                await self._app(scope, receive, send)
