"""A client that goes away ends the work on its request, and no other; on real sockets."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import httpx
import pytest
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from seedcore.api.disconnects import CancelOnDisconnect
from tests.server import Connection, serving
from tests.waiting import wait_until_async

DEADLINE_S = 10.0


class Routes:
    """An application whose handlers tell what becomes of them."""

    def __init__(self) -> None:
        self.started = asyncio.Event()
        self.cancelled = asyncio.Event()
        self.cleaned_up = asyncio.Event()
        self.go_on = asyncio.Event()
        self.background_done = asyncio.Event()

    async def wait(self, request: Request) -> Response:
        size = len(await request.body())
        self.started.set()
        try:
            await self.go_on.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            await asyncio.sleep(0)  # it is cancelled once, so that it can clean up
            self.cleaned_up.set()
            raise
        return PlainTextResponse(str(size))

    async def stream(self, request: Request) -> Response:
        async def chunks() -> AsyncIterator[bytes]:
            try:
                while not self.go_on.is_set():
                    yield b"x" * 1000
                    self.started.set()
                    await asyncio.sleep(0.001)
            except asyncio.CancelledError:
                self.cancelled.set()
                raise

        return StreamingResponse(chunks())

    async def background(self, request: Request) -> Response:
        async def later() -> None:
            await self.go_on.wait()
            self.background_done.set()

        return PlainTextResponse("answered", background=BackgroundTask(later))

    async def disconnected(self, request: Request) -> Response:
        return PlainTextResponse(str(await request.is_disconnected()))

    async def fail(self, request: Request) -> Response:
        raise TimeoutError("of its own")

    def app(self) -> CancelOnDisconnect:
        names = ("wait", "stream", "background", "disconnected", "fail")
        return CancelOnDisconnect(
            Starlette(routes=[Route(f"/{name}", getattr(self, name), methods=["GET", "PUT"]) for name in names])
        )


@pytest.fixture
async def routes() -> AsyncIterator[Routes]:
    routes = Routes()
    yield routes
    routes.go_on.set()


@pytest.fixture
async def port(routes: Routes) -> AsyncIterator[int]:
    async with serving(routes.app()) as port:
        yield port


def get(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()


async def soon(happens: Callable[[], Awaitable[object]]) -> None:
    await asyncio.wait_for(happens(), DEADLINE_S)


@pytest.mark.parametrize("body", [b"", b"x" * 100])
async def test_the_handler_is_cancelled_when_its_client_goes_away(routes: Routes, port: int, body: bytes) -> None:
    connection = await Connection.to(port)
    await connection.put(len(body), body, "/wait")
    await soon(routes.started.wait)
    assert not routes.cancelled.is_set()
    connection.close()
    await soon(routes.cancelled.wait)
    await soon(routes.cleaned_up.wait)


async def test_a_client_that_stays_has_its_answer_on_the_same_connection(routes: Routes, port: int) -> None:
    connection = await Connection.to(port)
    routes.go_on.set()
    for size in range(20):
        await connection.put(size, b"x" * size, "/wait")
        assert (await connection.answer()).text == str(size)
    connection.close()
    await connection_of_another(port)
    assert not routes.cancelled.is_set()


async def connection_of_another(port: int) -> None:
    """An answer to somebody else, by which time the server has seen what came before."""
    async with httpx.AsyncClient() as client:
        assert (await client.get(f"http://127.0.0.1:{port}/disconnected")).text == "False"


async def test_only_the_request_of_the_client_that_went_away_is_cancelled(routes: Routes, port: int) -> None:
    stays, goes = await Connection.to(port), await Connection.to(port)
    await stays.put(3, b"abc", "/wait")
    await soon(routes.started.wait)
    routes.started.clear()
    await goes.put(0, path="/wait")
    await soon(routes.started.wait)
    goes.close()
    await soon(routes.cleaned_up.wait)
    routes.go_on.set()
    assert (await stays.answer()).text == "3"


async def test_requests_in_a_pipeline_are_all_answered_in_order(routes: Routes, port: int) -> None:
    connection = await Connection.to(port)
    requests = [
        b"PUT /wait HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%b" % (n, b"x" * n) for n in range(9)
    ]
    await connection.send(b"".join(requests))
    await soon(routes.started.wait)
    routes.go_on.set()
    assert [(await connection.answer()).text for _ in requests] == [str(n) for n in range(9)]
    assert not routes.cancelled.is_set()


async def test_a_stream_ends_when_its_client_goes_away(routes: Routes, port: int) -> None:
    connection = await Connection.to(port)
    await connection.send(get("/stream"))
    await soon(routes.started.wait)
    connection.close()
    await soon(routes.cancelled.wait)


async def test_a_stream_that_is_read_is_never_cancelled(routes: Routes, port: int) -> None:
    async with httpx.AsyncClient() as client, client.stream("GET", f"http://127.0.0.1:{port}/stream") as answer:
        size = 0
        async for chunk in answer.aiter_raw():
            size += len(chunk)
            if size > 20_000:
                routes.go_on.set()
    assert not routes.cancelled.is_set()


async def test_what_is_done_after_the_answer_is_left_alone(routes: Routes, port: int) -> None:
    connection = await Connection.to(port)
    await connection.send(get("/background"))
    assert (await connection.answer()).text == "answered"
    connection.close()
    await connection_of_another(port)
    routes.go_on.set()
    await soon(routes.background_done.wait)


async def test_errors_of_the_application_come_out_as_they_are(routes: Routes) -> None:
    transport = httpx.ASGITransport(routes.app())
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        with pytest.raises(TimeoutError, match="of its own"):
            await client.get("/fail")


async def test_no_task_is_left_behind(routes: Routes, port: int) -> None:
    before = asyncio.all_tasks()
    for path in ("/wait", "/stream", "/disconnected") * 5:
        connection = await Connection.to(port)
        routes.started.clear()
        await connection.send(get(path))
        if path == "/disconnected":
            assert (await connection.answer()).text == "False"
        else:
            await soon(routes.started.wait)
        connection.close()

    async def none_is_left() -> bool:
        return asyncio.all_tasks() - {asyncio.current_task()} <= before

    await wait_until_async(none_is_left, DEADLINE_S)
