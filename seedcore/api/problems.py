"""Errors as `application/problem+json` (RFC 9457), one shape for all of them."""

from http import HTTPStatus
from http.client import responses
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from seedcore.api.models import Problem
from seedcore.api.request_records import note_problem
from seedcore.api.routing import allowed_methods
from seedcore.errors import (
    ActorNotFoundError,
    ActorUnavailableError,
    AuthenticationFailedError,
    BootstrapError,
    ClusterUnreachableError,
    EngineUnavailableError,
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
    EngineUnavailableError: HTTPStatus.SERVICE_UNAVAILABLE,
    StoreUnavailableError: HTTPStatus.SERVICE_UNAVAILABLE,
    ActorNotFoundError: HTTPStatus.SERVICE_UNAVAILABLE,
    ActorUnavailableError: HTTPStatus.SERVICE_UNAVAILABLE,
    AuthenticationFailedError: HTTPStatus.SERVICE_UNAVAILABLE,
    BootstrapError: HTTPStatus.SERVICE_UNAVAILABLE,
    ClusterUnreachableError: HTTPStatus.SERVICE_UNAVAILABLE,
}

FASTAPIS_PROBLEM: Final = "HTTPValidationError"  # which no answer is, since `install`

# What the OpenAPI document says of each status.
MEANINGS: Final = {
    HTTPStatus.BAD_REQUEST: "the body cannot be read",
    HTTPStatus.NOT_FOUND: "there is no such item",
    HTTPStatus.REQUEST_TIMEOUT: "the body did not come in time",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "the body is larger than API_MAX_BODY_BYTES, or a value than VALUE_MAX_BYTES",
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: "the Content-Type is not application/json, or the body is encoded",
    HTTPStatus.MISDIRECTED_REQUEST: "the Host header is not in API_ALLOWED_HOSTS",
    HTTPStatus.UNPROCESSABLE_ENTITY: "a parameter, a header or the body is not valid; the problem names the place",
    HTTPStatus.INTERNAL_SERVER_ERROR: "something that should not be; the API's log has the traceback",
    HTTPStatus.SERVICE_UNAVAILABLE: "the cluster, an actor or its store is not there now",
    HTTPStatus.INSUFFICIENT_STORAGE: "the disk of the store is full",
}
ALWAYS: Final = (HTTPStatus.MISDIRECTED_REQUEST, HTTPStatus.INTERNAL_SERVER_ERROR)
WITH_INPUT: Final = (HTTPStatus.UNPROCESSABLE_ENTITY,)
WITH_BODY: Final = (
    HTTPStatus.BAD_REQUEST,
    HTTPStatus.REQUEST_TIMEOUT,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
)


def told(*statuses: HTTPStatus) -> dict[int | str, dict[str, Any]]:
    """Problem answers for the OpenAPI document, as FastAPI's `responses` take them."""
    schema = {"$ref": f"#/components/schemas/{Problem.__name__}"}
    return {
        status.value: {"description": MEANINGS[status], "content": {MEDIA_TYPE: {"schema": schema}}}
        for status in statuses
    }


def problem(status: int, detail: str, **more: Any) -> JSONResponse:
    """A problem answer.

    Args:
        status: HTTP status code.
        detail: what is wrong and what to do.
        more: further members of the JSON object.
    """
    title = responses.get(status, "Error")  # an application may answer with a number that nobody has registered
    body = {"type": "about:blank", "title": title, "status": status, "detail": detail, **more}
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
        if isinstance(error.body, bytes) and error.body and any(one["loc"] == ("body",) for one in error.errors()):
            return problem(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, _not_json(request.headers.get("content-type")))
        errors = [
            {"where": ".".join(map(str, one["loc"])), "problem": one["msg"]} for one in error.errors()[:MAX_ERRORS]
        ]
        detail = "; ".join(f"{one['where']}: {one['problem']}" for one in errors)
        return problem(HTTPStatus.UNPROCESSABLE_ENTITY, detail, errors=errors)

    @app.exception_handler(HTTPException)
    async def _http(request: Request, error: HTTPException) -> JSONResponse:
        answer = problem(error.status_code, str(error.detail))
        answer.headers.update(error.headers or {})
        if "allow" in answer.headers:  # of one route only
            answer.headers["allow"] = ", ".join(allowed_methods(request.scope))
        return answer

    @app.exception_handler(Exception)
    async def _unexpected(request: Request, error: Exception) -> JSONResponse:
        # Starlette raises it again after this answer; uvicorn logs the traceback, and ends the connection.
        answer = problem(HTTPStatus.INTERNAL_SERVER_ERROR, "an unexpected error; the API's log has the traceback")
        answer.headers["connection"] = "close"
        return answer

    documented = app.openapi
    app.openapi = lambda: _with_problems(documented())  # type: ignore[method-assign]


def _with_problems(document: dict[str, Any]) -> dict[str, Any]:
    """The OpenAPI document with the problems that may be the answer of every operation, in place of FastAPI's own."""
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    own = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas |= {**own.pop("$defs"), Problem.__name__: own}
    for operation in (one for methods in document["paths"].values() for one in methods.values()):
        has_body = "requestBody" in operation
        has_input = has_body or "parameters" in operation
        answers = operation["responses"]
        if FASTAPIS_PROBLEM in repr(answers.get("422")):
            del answers["422"]
        for status, answer in told(*ALWAYS, *WITH_INPUT * has_input, *WITH_BODY * has_body).items():
            answers.setdefault(str(status), answer)
        operation["responses"] = dict(sorted(answers.items()))
    for name in (FASTAPIS_PROBLEM, "ValidationError"):
        schemas.pop(name, None)
    return document


def _not_json(content_type: str | None) -> str:
    given = "is missing" if content_type is None else f"is {content_type!r}"
    return f"header Content-Type {given}; it must be application/json. With curl: -H 'Content-Type: application/json'"
