"""Errors as `application/problem+json` (RFC 9457), one shape for all of them."""

from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from seedcore.api.request_records import note_problem
from seedcore.errors import (
    ActorNotFoundError,
    ActorUnavailableError,
    AuthenticationFailedError,
    BootstrapError,
    ClusterUnreachableError,
    InvalidKeyError,
    InvalidTtlError,
    InvalidValueError,
    SeedCoreError,
    StoreDamagedError,
    StoreFullError,
    StoreUnavailableError,
    UnreadableItemsError,
    ValueTooLargeError,
)

MAX_ERRORS: Final = 20  # of a bad request that are told; there may be one for each of 100,000 items
MEDIA_TYPE: Final = "application/problem+json"

STATUSES: Final[dict[type[SeedCoreError], HTTPStatus]] = {
    InvalidKeyError: HTTPStatus.UNPROCESSABLE_ENTITY,
    InvalidValueError: HTTPStatus.UNPROCESSABLE_ENTITY,
    InvalidTtlError: HTTPStatus.UNPROCESSABLE_ENTITY,
    UnreadableItemsError: HTTPStatus.UNPROCESSABLE_ENTITY,
    ValueTooLargeError: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    StoreDamagedError: HTTPStatus.SERVICE_UNAVAILABLE,
    StoreFullError: HTTPStatus.INSUFFICIENT_STORAGE,
    StoreUnavailableError: HTTPStatus.SERVICE_UNAVAILABLE,
    ActorNotFoundError: HTTPStatus.SERVICE_UNAVAILABLE,
    ActorUnavailableError: HTTPStatus.SERVICE_UNAVAILABLE,
    AuthenticationFailedError: HTTPStatus.SERVICE_UNAVAILABLE,
    BootstrapError: HTTPStatus.SERVICE_UNAVAILABLE,
    ClusterUnreachableError: HTTPStatus.SERVICE_UNAVAILABLE,
}


def problem(status: int, detail: str, **more: Any) -> JSONResponse:
    """A problem answer.

    Args:
        status: HTTP status code.
        detail: what is wrong and what to do.
        more: further members of the JSON object.
    """
    body = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": detail, **more}
    return JSONResponse(body, status_code=status, media_type=MEDIA_TYPE)


def install(app: FastAPI) -> None:
    """Answer every error of the application as a problem."""

    @app.exception_handler(SeedCoreError)
    async def _of_ours(request: Request, error: SeedCoreError) -> JSONResponse:
        status = STATUSES.get(type(error), HTTPStatus.INTERNAL_SERVER_ERROR)
        note_problem(request, str(error))
        return problem(status, str(error))

    @app.exception_handler(RequestValidationError)
    async def _bad_request(request: Request, error: RequestValidationError) -> JSONResponse:
        errors = [
            {"where": ".".join(map(str, one["loc"])), "problem": one["msg"]} for one in error.errors()[:MAX_ERRORS]
        ]
        detail = "; ".join(f"{one['where']}: {one['problem']}" for one in errors)
        return problem(HTTPStatus.UNPROCESSABLE_ENTITY, detail, errors=errors)

    @app.exception_handler(HTTPException)
    async def _http(request: Request, error: HTTPException) -> JSONResponse:
        answer = problem(error.status_code, str(error.detail))
        answer.headers.update(error.headers or {})
        return answer

    @app.exception_handler(Exception)
    async def _unexpected(request: Request, error: Exception) -> JSONResponse:
        # Starlette raises it again after this answer, and uvicorn logs the traceback.
        return problem(HTTPStatus.INTERNAL_SERVER_ERROR, "an unexpected error; the API's log has the traceback")
