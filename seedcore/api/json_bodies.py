"""JSON bodies become checked models: small ones at once, others in a thread, since 10 MiB take seconds."""

import asyncio
import gc
import json
from collections.abc import Callable, Coroutine
from http import HTTPStatus
from typing import Any, Final, cast

from fastapi import HTTPException, Request, Response
from fastapi.routing import APIRoute
from pydantic import BaseModel, ValidationError

from seedcore.api.memory_budget import RequestThreads
from seedcore.api.problems import MAX_ERRORS, BadRequestError, ErrorDetail
from seedcore.cluster.actor_client import INLINE_BYTES

# One, since Python decodes one body at a time anyway, and each takes some 30 times its bytes meanwhile.
_decoder: Final = RequestThreads(max_workers=1, thread_name_prefix="json")


class JsonRoute(APIRoute):
    """A route that reads its JSON body without stalling the event loop; as `APIRoute` otherwise."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """FastAPI's handler, on a request that brings the model of the body with it."""
        handle = super().get_route_handler()
        if self.body_field is None:
            return handle
        model = cast("type[BaseModel]", self.body_field.field_info.annotation)

        async def handle_json(request: Request) -> Response:
            return await handle(_JsonRequest(request, model))

        return handle_json


class _JsonRequest(Request):
    def __init__(self, request: Request, model: type[BaseModel]) -> None:
        super().__init__(request.scope, request.receive)
        self._model = model

    async def json(self) -> BaseModel:
        """The body as the model, which FastAPI takes as it is."""
        body = await self.body()
        if len(body) <= INLINE_BYTES:
            read = _read(self._model, body)
        else:
            read = await asyncio.get_running_loop().run_in_executor(_decoder, _read_large, self._model, body)
        if isinstance(read, BaseModel):
            return read
        # Raised here and not there: the traceback would keep the whole body alive, and FastAPI's own errors do.
        if read is None:
            raise HTTPException(HTTPStatus.BAD_REQUEST, "There was an error parsing the body")
        raise BadRequestError(read)


def _read_large(model: type[BaseModel], body: bytes) -> BaseModel | list[ErrorDetail] | None:
    # Millions of new lists make the collector look through all of them again and again, for three quarters of the time.
    gc.disable()
    try:
        return _read(model, body)
    finally:
        gc.enable()


def _read(model: type[BaseModel], body: bytes) -> BaseModel | list[ErrorDetail] | None:
    """The model, or what is wrong with the body; None if it is not even text, or nested beyond all measure."""
    try:
        # from_attributes as FastAPI has it, since the words of an error depend on it.
        return model.model_validate(_without_more_strangers(model, json.loads(body)), from_attributes=True)
    except json.JSONDecodeError as error:
        return [ErrorDetail(("body", error.pos), "JSON decode error")]
    except (UnicodeDecodeError, RecursionError):
        return None
    except ValidationError as error:
        details = error.errors(include_url=False, include_context=False, include_input=False)
        return [ErrorDetail(("body", *one["loc"]), one["msg"]) for one in details[:MAX_ERRORS]]


def _without_more_strangers(model: type[BaseModel], value: Any) -> Any:
    """Without members that the model does not know, beyond those that are told; each would cost a kilobyte."""
    if not isinstance(value, dict) or len(value) <= len(model.model_fields) + MAX_ERRORS:
        return value
    strangers = [name for name in value if name not in model.model_fields][:MAX_ERRORS]
    return {name: value[name] for name in (*model.model_fields, *strangers) if name in value}
