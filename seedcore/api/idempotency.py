"""The Idempotency-Key header (draft-ietf-httpapi-idempotency-key-header): a retry changes nothing a second time."""

from collections.abc import AsyncIterator
from typing import Annotated, Final

from fastapi import Header, Request

from seedcore.request_ids import idempotency_key

MAX_LENGTH: Final = 255

DESCRIPTION: Final = (
    "Unique to this request, such as a UUID. A client that got no answer sends the same request again with the same "
    "key, and gets the first answer if there was one; nothing is changed or counted a second time. Known for a week."
)


async def idempotent(
    request: Request,
    key: Annotated[
        str | None,
        Header(alias="Idempotency-Key", min_length=1, max_length=MAX_LENGTH, description=DESCRIPTION),
    ] = None,
) -> AsyncIterator[None]:
    """A dependency of routes that change something or count a miss."""
    with idempotency_key(None if key is None else f"{request.method} {request.url.path} {key}"):
        yield
