"""The Idempotency-Key header (draft-ietf-httpapi-idempotency-key-header): a retry changes nothing a second time."""

from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Annotated, Any, Final

from fastapi import Header, Request, Response
from fastapi.routing import APIRoute
from starlette.routing import Match
from starlette.types import Scope

from seedcore.request_ids import idempotency_key

NAME: Final = "Idempotency-Key"
MAX_LENGTH: Final = 255
_RAW_NAME: Final = NAME.lower().encode()  # as ASGI has it

DESCRIPTION: Final = (
    "Unique to this request, such as a UUID. A client that got no answer sends the same request again with the same "
    "key, and gets the first answer if there was one; nothing is changed or counted a second time. Known for a week."
)


async def idempotent(
    request: Request,
    key: Annotated[
        str | None,
        Header(alias=NAME, min_length=1, max_length=MAX_LENGTH, description=DESCRIPTION),
    ] = None,
) -> AsyncIterator[None]:
    """A dependency of routes that change something or count a miss."""
    with idempotency_key(None if key is None else f"{request.method} {request.url.path} {key}"):
        yield


class KeylessRoute(APIRoute):
    """A route for requests without the header. Those with it go to the next route of the same path.

    Its endpoint takes the request and nothing else, and returns a response. Without dependencies, nothing is left for
    FastAPI to look for, which takes it longer than to get a small item.
    """

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """As `APIRoute`, for those requests."""
        match, child_scope = super().matches(scope)
        if match is not Match.NONE and _RAW_NAME in dict(scope["headers"]):
            return Match.NONE, {}
        return match, child_scope

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The endpoint itself, or FastAPI's handler if it has dependencies to solve."""
        if self.dependencies:
            return super().get_route_handler()
        endpoint: Callable[[Request], Coroutine[Any, Any, Response]] = self.endpoint
        return endpoint
