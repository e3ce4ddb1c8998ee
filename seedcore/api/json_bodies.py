"""JSON bodies, parsed as JSON and nothing else; large ones beside the event loop."""

import asyncio
import codecs
import json
import re
from collections.abc import Callable, Coroutine
from http import HTTPStatus
from typing import Any, Final

from fastapi import HTTPException, Request, Response
from pydantic_core import from_json

from seedcore.api.routing import RawPathRoute
from seedcore.event_loop import INLINE_BYTES

# What may stand for a number that no float can hold: one of more than 308 digits, of which an exponent of two adds 99
# at most. The parser makes infinity of it, which JSON does not have.
MAYBE_TOO_LARGE: Final = re.compile(rb"[eE]\+?[0-9]{3}|[0-9]{200}")

PLAIN: Final = "identity"  # the Content-Encoding of a body as it is


class JsonRoute(RawPathRoute):
    """A route whose JSON body is read by `JsonRequest`."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """FastAPI's handler, on such a request."""
        handle = super().get_route_handler()
        if self.body_field is None:
            return handle

        async def handle_json(request: Request) -> Response:
            return await handle(JsonRequest(request.scope, request.receive))

        return handle_json


class JsonRequest(Request):
    """A request with a JSON body."""

    async def json(self) -> Any:
        """The body.

        Raises:
            HTTPException: 422, it is not JSON; 415, it is encoded.
        """
        encoding = self.headers.get("content-encoding", PLAIN)
        if encoding.lower() != PLAIN:
            detail = (
                f"header Content-Encoding: {encoding!r} is not understood. Send the body as it is, without the header."
            )
            raise HTTPException(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, detail, headers={"Accept-Encoding": PLAIN})
        body = await self.body()
        try:
            return _parse(body) if len(body) <= INLINE_BYTES else await asyncio.to_thread(_parse, body)
        except ValueError as error:
            raise HTTPException(HTTPStatus.UNPROCESSABLE_ENTITY, f"body: {error}") from None


def _parse(body: bytes) -> Any:
    value = from_json(body.removeprefix(codecs.BOM_UTF8), allow_inf_nan=False)
    if MAYBE_TOO_LARGE.search(body):
        json.dumps(value, allow_nan=False)
    return value
